# All that differs between versions of Vivado, in one place.

namespace eval ::celosia {
    # assign_bd_address -offset, write_hw_platform and the .gen folder are all there from here on.
    variable oldest 2020.2
}

proc ::celosia::check_version {} {
    variable oldest
    set version [version -short]
    if {![regexp {^(\d+\.\d+)} $version -> number] || $number < $oldest} {
        fail "Vivado $version is too old: these scripts need $oldest or newer"
    }
}

# The newest core called NAME of Vivado's catalogue: numbers differ from version to version.
proc ::celosia::newest_core {name} {
    set found [get_ipdefs -all -filter "VLNV =~ xilinx.com:ip:$name:*"]
    if {[llength $found] == 0} {
        fail "this Vivado has no core called $name: install the device family of this board"
    }
    return [lindex [lsort -dictionary $found] end]
}

# The newest files of the board, of those that are installed.
proc ::celosia::newest_board {files} {
    set found [get_board_parts -quiet "$files:*"]
    if {[llength $found] == 0} {
        fail "the board files $files are not installed: get them with Vivado's board store\
            (xhub::refresh_catalog and xhub::install) or from the board's maker"
    }
    return [lindex [lsort -dictionary $found] end]
}

# Where the hand-off of block design NAME of the project in FOLDER lies.
proc ::celosia::hand_off {folder name} {
    foreach kind {gen srcs} {
        set found [glob -nocomplain -directory $folder *.$kind/sources_1/bd/$name/hw_handoff/$name.hwh]
        if {[llength $found] > 0} {
            return [lindex $found 0]
        }
    }
    fail "no hand-off file of block design $name was found below $folder"
}
