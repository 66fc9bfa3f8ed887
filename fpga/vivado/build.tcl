# From the packaged core to a bitstream: vivado -mode batch -source build.tcl -tclargs NAME=VALUE ...
#
#   to=core|area|bitstream   how far to go: package the core; synthesise it alone, for area and
#                            timing; or all the way (default)
#   clock=MHZ                clock of the fabric, instead of the one in settings.tcl
#   jobs=N                   processes of a run (default 4)
#
# Leaves, beside this file, out/: reports, report.json, and NAME.bit, NAME.hwh and NAME.xsa of a design
# whose timing is met. Exit status: 0 done, 1 stopped by an error, 2 timing not met.

set celosia_root [file dirname [file normalize [info script]]]
foreach name {settings versions steps report core area system} {
    source [file join $celosia_root tcl $name.tcl]
}

proc ::celosia::arguments {given} {
    variable settings
    set known [dict create to bitstream clock [dict get $settings clock_mhz] jobs 4]
    foreach argument $given {
        if {![regexp {^(\w+)=(.+)$} $argument -> name value] || ![dict exists $known $name]} {
            fail "argument '$argument' is not understood: write [join [dict keys $known] =..., ]=..."
        }
        dict set known $name $value
    }
    if {[dict get $known to] ni {core area bitstream}} {
        fail "to=[dict get $known to] is not a place to go to: core, area or bitstream"
    }
    foreach name {clock jobs} {
        set value [dict get $known $name]
        if {![string is double -strict $value] || $value <= 0} {
            fail "$name=$value must be a number above 0"
        }
    }
    return $known
}

proc ::celosia::main {root given} {
    check_version
    set arguments [arguments $given]
    check_part
    set out [file join $root out]
    file mkdir $out
    package_core $root [dict get $arguments clock]
    if {[dict get $arguments to] eq "core"} {
        return 0
    }
    if {[dict get $arguments to] eq "area"} {
        return [measure_area $root $out [dict get $arguments clock]]
    }
    return [build_system $root $out [dict get $arguments clock] [dict get $arguments jobs]]
}

# Anything that goes wrong is said in one line, and Vivado's own messages stay above it.
if {[catch {::celosia::main $celosia_root $argv} celosia_status]} {
    puts stderr "celosia: [::celosia::in_words $celosia_status]"
    exit 1
}
exit $celosia_status
