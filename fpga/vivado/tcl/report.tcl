# Vivado's reports, and the numbers of them that `celosia report` reads, as JSON.

namespace eval ::celosia {
    # Rows of report_utilization, by what they are called here; series 7 and UltraScale+ differ.
    variable rows {
        lut  {"CLB LUTs" "Slice LUTs"}
        ff   {"CLB Registers" "Slice Registers"}
        bram {"Block RAM Tile"}
        uram {"URAM"}
        dsp  {"DSPs"}
    }
}

# Columns "Used" of the rows of a report of utilisation, by name; rows that are not there are 0.
proc ::celosia::utilisation {text} {
    variable rows
    set found [dict create]
    dict for {name titles} $rows {
        dict set found $name 0
        foreach title $titles {
            # A star marks estimates before placement.
            if {[regexp "\\|\\s*$title\\*?\\s*\\|\\s*(\[0-9.\]+)\\s*\\|" $text -> used]} {
                dict set found $name $used
            }
        }
    }
    return $found
}

proc ::celosia::power {text} {
    if {[regexp {Total On-Chip Power \(W\)\s*\|\s*([0-9.]+)} $text -> watts]} {
        return $watts
    }
    return null
}

# Write all reports of the open design into folder OUT; return the numbers as a dictionary.
proc ::celosia::write_reports {out} {
    report_utilization -file [file join $out utilization.rpt]
    report_utilization -hierarchical -file [file join $out utilization_by_block.rpt]
    report_timing_summary -delay_type min_max -max_paths 20 -file [file join $out timing.rpt]
    report_power -file [file join $out power.rpt]
    set numbers [utilisation [report_utilization -return_string]]
    dict set numbers watts [power [report_power -return_string]]
    dict set numbers setup_slack_ns [worst_slack max]
    dict set numbers hold_slack_ns [worst_slack min]
    return $numbers
}

# Worst slack in ns of setup (max) or hold (min); null where nothing is timed.
proc ::celosia::worst_slack {kind} {
    set paths [get_timing_paths -quiet -delay_type $kind -max_paths 1]
    if {[llength $paths] == 0} {
        return null
    }
    return [get_property SLACK [lindex $paths 0]]
}

# Whether slacks say that timing is met.
proc ::celosia::is_met {numbers} {
    foreach name {setup_slack_ns hold_slack_ns} {
        set slack [dict get $numbers $name]
        if {$slack eq "null" || $slack < 0} {
            return 0
        }
    }
    return 1
}

# Write dictionary VALUES to FILE, whole or not at all. Names are plain words.
proc ::celosia::write_json {file values} {
    # A hash may look like a number.
    set texts {kind accelerator hash board part vivado strategy}
    set lines {}
    dict for {name value} $values {
        if {$name in $texts} {
            set value "\"[string map {\\ \\\\ \" \\\"} $value]\""
        }
        lappend lines "  \"$name\": $value"
    }
    set channel [open $file.new w]
    puts $channel "{\n[join $lines ,\n]\n}"
    close $channel
    file rename -force $file.new $file
}

# What every report begins with.
proc ::celosia::heading {kind asked had} {
    return [dict create \
        kind $kind accelerator [setting accelerator] hash [setting hash] board [setting board] \
        part [setting part] vivado [version -short] clock_asked_mhz $asked clock_mhz $had]
}
