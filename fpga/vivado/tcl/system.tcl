# The engine beside a processing system: block design, implementation, bitstream.

proc ::celosia::build_system {root out clock jobs} {
    set folder [file join $out project]
    create_project -force system $folder -part [setting part]
    set_property board_part [newest_board [setting board_files]] [current_project]
    set_property ip_repo_paths [file join $out core] [current_project]
    update_ip_catalog
    set had [design_system $clock]
    generate_target all [get_files system.bd]
    add_files -norecurse [make_wrapper -files [get_files system.bd] -top]
    set_property top system_wrapper [current_fileset]
    update_compile_order -fileset sources_1
    launch_runs synth_1 -jobs $jobs
    finish synth_1
    set values [heading system $clock $had]
    if {![implement $out $jobs $values]} {
        return 2
    }
    launch_runs impl_1 -to_step write_bitstream -jobs $jobs
    finish impl_1
    collect $out $folder
    return 0
}

# Make the block design; return the frequency in MHz that the fabric's clock really has.
proc ::celosia::design_system {clock} {
    create_bd_design system
    set ps [create_bd_cell -type ip -vlnv [newest_core [setting ps_core]] ps]
    set rule xilinx.com:bd_rule:[setting ps_core]
    if {[setting ps_core] eq "processing_system7"} {
        # Pins of memory and of the fixed peripherals are the system's own.
        apply_bd_automation -rule $rule -config {make_external "FIXED_IO, DDR"\
            apply_board_preset "1" Master "Disable" Slave "Disable"} $ps
    } else {
        apply_bd_automation -rule $rule -config {apply_board_preset "1"} $ps
    }
    set_property -dict [concat [setting ps_settings] [list [setting clock_parameter] $clock]] $ps
    create_bd_cell -type ip -vlnv celosia:accelerators:[setting top]:[setting core_version] engine
    create_bd_cell -type ip -vlnv [newest_core proc_sys_reset] reset
    bridge control ps/[setting ps_control] engine/[setting control]
    foreach name [setting memory] port [setting ps_memory] {
        bridge ${name}_bridge engine/$name ps/$port
    }
    connect_clock
    connect_bd_net [get_bd_pins engine/[setting interrupt_port]] [get_bd_pins ps/[setting ps_interrupt]]
    assign_addresses
    validate_bd_design
    save_bd_design
    return [get_property [setting actual_clock_parameter] $ps]
}

# Put a SmartConnect called NAME between two interfaces: it converts protocols and widths.
proc ::celosia::bridge {name from to} {
    set cell [create_bd_cell -type ip -vlnv [newest_core smartconnect] $name]
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} $cell
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $name/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $to]
}

# One clock, and a reset in step with it, for everything.
proc ::celosia::connect_clock {} {
    set bridges {control}
    foreach name [setting memory] {
        lappend bridges ${name}_bridge
    }
    set clocks [list engine/[setting clock_port] reset/slowest_sync_clk]
    foreach name $bridges {
        lappend clocks $name/aclk
    }
    foreach pin [setting ps_clocks] {
        lappend clocks ps/$pin
    }
    set source [get_bd_pins ps/[setting ps_clock]]
    foreach pin $clocks {
        connect_bd_net $source [get_bd_pins $pin]
    }
    connect_bd_net [get_bd_pins ps/[setting ps_reset]] [get_bd_pins reset/ext_reset_in]
    connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins engine/[setting reset_port]]
    foreach name $bridges {
        connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins $name/aresetn]
    }
}

proc ::celosia::assign_addresses {} {
    assign_bd_address -offset [setting control_base] -range [setting control_bytes] \
        -target_address_space [get_bd_addr_spaces ps/Data] \
        [get_bd_addr_segs -of_objects [get_bd_intf_pins engine/[setting control]]]
    assign_bd_address
    foreach name [setting memory] {
        foreach segment [get_bd_addr_segs -of_objects [get_bd_addr_spaces engine/$name]] {
            foreach pattern [setting not_memory] {
                if {[string match $pattern $segment]} {
                    exclude_bd_addr_seg $segment
                }
            }
        }
    }
}

# Place and route with one strategy after another until timing is met; return whether it is.
proc ::celosia::implement {out jobs values} {
    set tried {}
    foreach strategy [setting strategies] {
        lappend tried $strategy
        reset_run impl_1
        set_property strategy $strategy [get_runs impl_1]
        launch_runs impl_1 -jobs $jobs
        finish impl_1
        open_run impl_1
        set numbers [write_reports $out]
        close_design
        set met [is_met $numbers]
        set all [dict merge $values $numbers]
        dict set all timing_met [expr {$met ? "true" : "false"}]
        dict set all routed true
        dict set all strategy $strategy
        dict set all strategies_tried [llength $tried]
        write_json [file join $out report.json] $all
        if {$met} {
            return 1
        }
        puts "celosia: $strategy leaves a slack of [dict get $numbers setup_slack_ns] ns"
    }
    puts stderr "celosia: timing is not met at [dict get $values clock_mhz] MHz by any of\
        [llength $tried] strategies: ask for a lower clock (clock=MHZ); reports are in $out"
    return 0
}

# Put bitstream, hand-off and platform where users look for them, under one name: PYNQ wants that.
proc ::celosia::collect {out folder} {
    set name [setting top]
    set bits [glob -nocomplain -directory [get_property DIRECTORY [get_runs impl_1]] *.bit]
    if {[llength $bits] == 0} {
        fail "Vivado wrote no bitstream: see the messages above"
    }
    file copy -force [lindex $bits 0] [file join $out $name.bit]
    file copy -force [hand_off $folder system] [file join $out $name.hwh]
    write_hw_platform -fixed -include_bit -force -file [file join $out $name.xsa]
}
