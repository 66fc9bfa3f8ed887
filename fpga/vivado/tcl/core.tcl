# The engine as a packaged core (IP-XACT), with interfaces, clock, reset, interrupt and registers.

proc ::celosia::sources {root} {
    set files {}
    foreach name [setting sources] {
        lappend files [file join $root rtl $name]
    }
    return $files
}

# The only constraint of the core: its clock. In a system the clock comes from there.
proc ::celosia::constrain {file clock} {
    set channel [open $file w]
    puts $channel "create_clock -name [setting clock_port] -period [expr {1000.0 / $clock}]\
        \[get_ports [setting clock_port]\]"
    close $channel
    return $file
}

proc ::celosia::package_core {root clock} {
    set folder [file join $root out core]
    create_project -force package [file join $root out package] -part [setting part]
    add_files -norecurse [sources $root]
    set constraints [constrain [file join $root out [setting top]_alone.xdc] $clock]
    add_files -norecurse -fileset constrs_1 $constraints
    set_property USED_IN {synthesis out_of_context} [get_files $constraints]
    set_property top [setting top] [current_fileset]
    update_compile_order -fileset sources_1
    ipx::package_project -root_dir $folder -vendor celosia -library accelerators \
        -taxonomy /Celosia -import_files -set_current true -force
    set core [ipx::current_core]
    set_property name [setting top] $core
    set_property version [setting core_version] $core
    set_property display_name "Celosia [setting accelerator]" $core
    set_property description "Celosia accelerator [setting accelerator] ([setting hash])" $core
    set_property supported_families [list [setting family] Production] $core
    describe_interfaces $core
    describe_registers $core
    ipx::create_xgui_files $core
    ipx::update_checksums $core
    if {![ipx::check_integrity -quiet $core]} {
        fail "Vivado finds the packaged core in $folder incomplete: see the messages above"
    }
    ipx::save_core $core
    close_project
}

proc ::celosia::describe_interfaces {core} {
    foreach {port kind parameter value} [list \
        [setting clock_port] clock ASSOCIATED_RESET [setting reset_port] \
        [setting reset_port] reset POLARITY ACTIVE_LOW \
        [setting interrupt_port] interrupt SENSITIVITY LEVEL_HIGH \
    ] {
        if {[llength [ipx::get_bus_interfaces -quiet $port -of_objects $core]] == 0} {
            ipx::infer_bus_interface $port xilinx.com:signal:${kind}_rtl:1.0 $core
        }
        describe [ipx::get_bus_interfaces $port -of_objects $core] $parameter $value
    }
    foreach name [concat [setting control] [setting memory]] {
        if {[llength [ipx::get_bus_interfaces -quiet $name -of_objects $core]] == 0} {
            fail "Vivado found no AXI interface $name in the ports of [setting top]"
        }
        ipx::associate_bus_interfaces -busif $name -clock [setting clock_port] $core
    }
}

# Give INTERFACE a parameter, which Vivado may have found by itself.
proc ::celosia::describe {interface name value} {
    set parameter [ipx::get_bus_parameters -quiet $name -of_objects $interface]
    if {[llength $parameter] == 0} {
        set parameter [ipx::add_bus_parameter $name $interface]
    }
    set_property value $value $parameter
}

# Registers by name: what reads a hand-off file, such as PYNQ, offers them.
proc ::celosia::describe_registers {core} {
    set map [ipx::get_memory_maps [setting control] -of_objects $core]
    set block [lindex [ipx::get_address_blocks -of_objects $map] 0]
    set_property range [setting control_bytes] $block
    foreach {name offset text} [setting registers] {
        set register [ipx::add_register $name $block]
        set_property address_offset $offset $register
        set_property size 32 $register
        set_property description $text $register
    }
}
