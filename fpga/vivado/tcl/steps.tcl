# What the other scripts share: errors in words, and runs.

namespace eval ::celosia {}

proc ::celosia::fail {message} {
    return -code error -errorcode CELOSIA $message
}

proc ::celosia::setting {name} {
    variable settings
    return [dict get $settings $name]
}

# MESSAGE, or what it means where that is known.
proc ::celosia::in_words {message} {
    if {[string match "*Common 17-345*" $message] || [string match -nocase "*valid license*" $message]} {
        return "Vivado has no licence for [setting part]: set XILINXD_LICENSE_FILE, or take a part that\
            the free edition builds for. It said: $message"
    }
    return $message
}

proc ::celosia::check_part {} {
    if {[llength [get_parts -quiet [setting part]]] == 0} {
        fail "part [setting part] is not installed: add its device family with Vivado's installer"
    }
}

# Wait for run NAME; an error says what its log says.
proc ::celosia::finish {name} {
    # A run that fails is an error of waiting in some versions; either way its progress tells.
    catch {wait_on_run $name}
    set run [get_runs $name]
    if {[get_property PROGRESS $run] eq "100%"} {
        return
    }
    set log [file join [get_property DIRECTORY $run] runme.log]
    set said [get_property STATUS $run]
    if {[file exists $log]} {
        set channel [open $log]
        foreach line [split [read $channel] \n] {
            if {[string match "ERROR:*" $line]} {
                append said ": $line"
                break
            }
        }
        close $channel
    }
    fail "run $name stopped ($said); its log is $log"
}
