# A stand-in for Vivado, which cannot be had here: tclsh vivado.tcl SCRIPT ARGUMENTS...
#
# It knows the commands below with their options (UG835), the cores of Vivado's catalogue that the
# scripts use with their pins and parameters (PG201, PG082, PG247, PG164), and what must be
# connected in a block design. Anything else is an error. The core's ports are read from its
# Verilog. Every command goes to the file that VIVADO_LOG names; VIVADO_WITHOUT (part, board,
# license), VIVADO_VERSION and VIVADO_SLACKS (setup slack of each implementation run) make it another
# machine. Written for these tests: it says nothing about what Vivado really does.

namespace eval ::vivado {
    variable state [dict create excluded {} associated {}]
    variable kind   ;# of each object, by name
    variable value  ;# of each property, by object and name
    array set kind {}
    array set value {}
    variable log [open $::env(VIVADO_LOG) w]
    variable slacks [expr {[info exists ::env(VIVADO_SLACKS)] ? $::env(VIVADO_SLACKS) : 0.25}]
    variable without [expr {[info exists ::env(VIVADO_WITHOUT)] ? $::env(VIVADO_WITHOUT) : ""}]

    # Properties that may be set, by kind of object.
    variable settable {
        project {board_part ip_repo_paths}
        fileset {top}
        file {USED_IN}
        component {name version display_name description supported_families}
        bus_parameter {value}
        address_block {range}
        register {address_offset size description}
        run {strategy}
    }
    # Parameters, pins and interfaces of cores; {PATTERN WHEN} is there where parameter WHEN is 1.
    variable catalogue {
        zynq_ultra_ps_e {
            version 3.5
            parameters {
                PSU__USE__M_AXI_GP[0-2] PSU__USE__S_AXI_GP[2-5] PSU__SAXIGP[2-5]__DATA_WIDTH
                PSU__USE__IRQ0 PSU__FPGA_PL0_ENABLE PSU__USE__FABRIC__RST PSU__NUM_FABRIC_RESETS
                PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ
            }
            actual {
                PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ
            }
            interfaces {
                {M_AXI_HPM0_FPD PSU__USE__M_AXI_GP0} {M_AXI_HPM1_FPD PSU__USE__M_AXI_GP1}
                {M_AXI_HPM0_LPD PSU__USE__M_AXI_GP2}
                {S_AXI_HP0_FPD PSU__USE__S_AXI_GP2} {S_AXI_HP1_FPD PSU__USE__S_AXI_GP3}
                {S_AXI_HP2_FPD PSU__USE__S_AXI_GP4} {S_AXI_HP3_FPD PSU__USE__S_AXI_GP5}
            }
            inputs {
                {maxihpm0_fpd_aclk PSU__USE__M_AXI_GP0} {maxihpm1_fpd_aclk PSU__USE__M_AXI_GP1}
                {maxihpm0_lpd_aclk PSU__USE__M_AXI_GP2}
                {saxihp0_fpd_aclk PSU__USE__S_AXI_GP2} {saxihp1_fpd_aclk PSU__USE__S_AXI_GP3}
                {saxihp2_fpd_aclk PSU__USE__S_AXI_GP4} {saxihp3_fpd_aclk PSU__USE__S_AXI_GP5}
                {pl_ps_irq0 PSU__USE__IRQ0}
            }
            outputs {{pl_clk0 PSU__FPGA_PL0_ENABLE} {pl_resetn0 PSU__USE__FABRIC__RST}}
            preset {PSU__USE__M_AXI_GP0 1 PSU__USE__M_AXI_GP1 1 PSU__USE__M_AXI_GP2 0}
            segments {DDR_LOW DDR_HIGH LPS_OCM QSPI}
        }
        processing_system7 {
            version 5.5
            parameters {
                PCW_USE_M_AXI_GP0 PCW_USE_S_AXI_HP[0-3] PCW_S_AXI_HP[0-3]_DATA_WIDTH
                PCW_USE_FABRIC_INTERRUPT PCW_IRQ_F2P_INTR PCW_EN_CLK0_PORT PCW_EN_RST0_PORT
                PCW_FPGA0_PERIPHERAL_FREQMHZ
            }
            actual {PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ PCW_FPGA0_PERIPHERAL_FREQMHZ}
            interfaces {
                {M_AXI_GP0 PCW_USE_M_AXI_GP0} {S_AXI_HP0 PCW_USE_S_AXI_HP0}
                {S_AXI_HP1 PCW_USE_S_AXI_HP1} {S_AXI_HP2 PCW_USE_S_AXI_HP2}
                {S_AXI_HP3 PCW_USE_S_AXI_HP3}
            }
            inputs {
                {M_AXI_GP0_ACLK PCW_USE_M_AXI_GP0} {S_AXI_HP0_ACLK PCW_USE_S_AXI_HP0}
                {S_AXI_HP1_ACLK PCW_USE_S_AXI_HP1} {S_AXI_HP2_ACLK PCW_USE_S_AXI_HP2}
                {S_AXI_HP3_ACLK PCW_USE_S_AXI_HP3} {IRQ_F2P PCW_IRQ_F2P_INTR}
            }
            outputs {{FCLK_CLK0 PCW_EN_CLK0_PORT} {FCLK_RESET0_N PCW_EN_RST0_PORT}}
            preset {PCW_USE_M_AXI_GP0 1}
            segments {DDR_LOWOCM}
        }
        smartconnect {
            version 1.0
            parameters {NUM_SI NUM_MI}
            interfaces {{S00_AXI} {M00_AXI}}
            inputs {{aclk} {aresetn}}
            outputs {}
        }
        proc_sys_reset {
            version 5.0
            parameters {C_EXT_RST_WIDTH}
            interfaces {}
            inputs {{slowest_sync_clk} {ext_reset_in}}
            outputs {{peripheral_aresetn} {interconnect_aresetn}}
        }
    }
}

# Define command NAME: options without and with a value, and how many other arguments it takes.
# In its body, `given` has the options by name and `rest` the others.
proc command {name flags values least most body} {
    proc $name args [string map [list @NAME $name @FLAGS $flags @VALUES $values @LEAST $least \
        @MOST $most @BODY $body] {
        puts $::vivado::log [concat {@NAME} $args]
        flush $::vivado::log
        set given [dict create]
        set rest {}
        for {set i 0} {$i < [llength $args]} {incr i} {
            set word [lindex $args $i]
            if {$word in {@FLAGS}} {
                dict set given $word 1
            } elseif {$word in {@VALUES}} {
                dict set given $word [lindex $args [incr i]]
            } elseif {[string match -\[a-z\]* $word]} {
                error "@NAME: unknown option $word"
            } else {
                lappend rest $word
            }
        }
        if {[llength $rest] < @LEAST || [llength $rest] > @MOST} {
            error "@NAME: [llength $rest] arguments, @LEAST to @MOST are taken"
        }
        @BODY
    }]
}

proc new {name kind} {
    set ::vivado::kind($name) $kind
    return $name
}

proc need {name args} {
    if {![info exists ::vivado::kind($name)]} {
        error "there is no object called '$name'"
    }
    if {$::vivado::kind($name) ni $args} {
        error "'$name' is a $::vivado::kind($name), not a [join $args { or a }]"
    }
    return $name
}

proc has {option} {
    upvar given given
    if {![dict exists $given $option]} {
        error "option $option is missing"
    }
    return [dict get $given $option]
}

proc touch {file {text ""}} {
    file mkdir [file dirname $file]
    set channel [open $file w]
    puts $channel $text
    close $channel
}

# Ports of MODULE, {name direction} for each, of the Verilog read so far.
proc ports_of {module} {
    foreach file [dict get $::vivado::state sources] {
        set channel [open $file]
        set text [read $channel]
        close $channel
        if {[regexp "\nmodule ${module}\\((.*?)\nendmodule" $text -> body]} {
            set ports {}
            foreach {- direction name} [regexp -all -inline -line {^ +(input|output)(?: \[[0-9:]+\])? (\w+);} $body] {
                lappend ports [list $name $direction]
            }
            return $ports
        }
    }
    error "module $module is in none of the sources"
}

# Interfaces that Vivado would find by the names of ports: {name mode} for each.
proc interfaces_of {ports} {
    set found [dict create]
    foreach port $ports {
        lassign $port name direction
        if {[regexp {^([sm]_axi_\w+)_(awaddr|araddr|wdata|rdata|awvalid|arvalid|bresp)$} $name -> prefix]} {
            dict incr found $prefix
        }
    }
    return [dict keys [dict filter $found value 7]]
}

# Names of PINS of cell CELL of the catalogue that its parameters make appear.
proc shown {cell pins} {
    set found {}
    foreach pin $pins {
        lassign $pin name when
        if {$when eq "" || ([info exists ::vivado::value($cell,CONFIG.$when)]
                && $::vivado::value($cell,CONFIG.$when) == 1)} {
            lappend found $name
        }
    }
    return $found
}

# {interfaces inputs outputs} of a cell of the block design.
proc faces {cell} {
    set core $::vivado::value($cell,CORE)
    if {$core eq "engine"} {
        set ports [ports_of $::vivado::value($cell,TOP)]
        set axi [interfaces_of $ports]
        set inputs {}
        set outputs {}
        foreach port $ports {
            lassign $port name direction
            set of_axi 0
            foreach interface $axi {
                if {[string match ${interface}_* $name]} {
                    set of_axi 1
                }
            }
            if {!$of_axi} {
                lappend ${direction}s $name
            }
        }
        return [list $axi $inputs $outputs]
    }
    set entry [dict get $::vivado::catalogue $core]
    return [list [shown $cell [dict get $entry interfaces]] [shown $cell [dict get $entry inputs]] \
        [shown $cell [dict get $entry outputs]]]
}

proc find_pin {name which} {
    lassign [split $name /] cell pin
    need $cell cell
    lassign [faces $cell] interfaces inputs outputs
    set known [expr {$which eq "interface" ? $interfaces : [concat $inputs $outputs]}]
    if {$pin ni $known} {
        error "cell $cell ($::vivado::value($cell,CORE)) has no $which $pin: it has $known"
    }
    return [new $name $which]
}

proc license {feature} {
    if {"license" in $::vivado::without} {
        return "ERROR: \[Common 17-345\] A valid license was not found for feature '$feature' and/or\
            device '[dict get $::vivado::state part]'."
    }
    return ""
}

# -- the program -----------------------------------------------------------------------------------

command version {-short} {} 0 0 {
    return [expr {[info exists ::env(VIVADO_VERSION)] ? $::env(VIVADO_VERSION) : "2023.2"}]
}
command get_parts {-quiet} {} 1 1 {
    return [expr {"part" in $::vivado::without ? {} : [lindex $rest 0]}]
}
command get_board_parts {-quiet} {} 1 1 {
    regexp {^(.*):\*$} [lindex $rest 0] -> stem
    return [expr {"board" in $::vivado::without ? {} : "$stem:1.9 $stem:1.10"}]
}
command get_ipdefs {-all} {-filter} 0 0 {
    if {![regexp {^VLNV =~ xilinx.com:ip:(\w+):\*$} [has -filter] -> name]
            || ![dict exists $::vivado::catalogue $name]} {
        return {}
    }
    return xilinx.com:ip:$name:[dict get $::vivado::catalogue $name version]
}

# -- projects --------------------------------------------------------------------------------------

command create_project {-force -in_memory} {-part} 0 2 {
    if {[dict exists $::vivado::state project]} {
        error "project [dict get $::vivado::state project] is still open"
    }
    if {![dict exists $given -in_memory] && [llength $rest] != 2} {
        error "create_project: a name and a folder are missing"
    }
    set name [expr {[llength $rest] ? [lindex $rest 0] : "in_memory"}]
    dict set ::vivado::state project $name
    dict set ::vivado::state folder [lindex $rest 1]
    dict set ::vivado::state part [has -part]
    dict set ::vivado::state sources {}
    dict set ::vivado::state clocked 0
    new project_$name project
    new sources_1 fileset
    foreach run {synth_1 impl_1} {
        new $run run
        set ::vivado::value($run,PROGRESS) 0%
        set ::vivado::value($run,STATUS) "Not started"
        set ::vivado::value($run,DIRECTORY) [file join [lindex $rest 1] $name.runs $run]
    }
}
command close_project {} {} 0 0 {
    dict unset ::vivado::state project
}
command current_project {} {} 0 0 { return project_[dict get $::vivado::state project] }
command current_fileset {} {} 0 0 { return sources_1 }
command update_compile_order {} {-fileset} 0 0 { need [has -fileset] fileset }
command add_files {-norecurse} {-fileset} 1 1 {
    foreach file [lindex $rest 0] {
        if {![file exists $file]} {
            error "add_files: $file does not exist"
        }
        new $file file
        if {[dict exists $given -fileset]} {
            if {[dict get $given -fileset] ne "constrs_1"} {
                error "add_files: no fileset [dict get $given -fileset]"
            }
            dict set ::vivado::state constraints $file
        } else {
            dict lappend ::vivado::state sources $file
        }
    }
}
command get_files {} {} 1 1 { return [need [lindex $rest 0] file] }
command get_property {} {} 2 2 {
    lassign $rest name object
    if {![info exists ::vivado::value($object,$name)]} {
        error "object '$object' has no property $name"
    }
    return $::vivado::value($object,$name)
}
command set_property {} {-dict} 1 3 {
    if {[dict exists $given -dict]} {
        set pairs [dict get $given -dict]
        set object [lindex $rest 0]
    } else {
        lassign $rest name value object
        set pairs [list $name $value]
    }
    if {![info exists ::vivado::kind($object)]} {
        error "set_property: there is no object '$object'"
    }
    set kind $::vivado::kind($object)
    foreach {name value} $pairs {
        if {$kind eq "cell"} {
            set core $::vivado::value($object,CORE)
            set known 0
            foreach pattern [dict get $::vivado::catalogue $core parameters] {
                set known [expr {$known || [string match CONFIG.$pattern $name]}]
            }
            if {!$known} {
                error "$core has no parameter $name"
            }
        } elseif {![dict exists $::vivado::settable $kind] || $name ni [dict get $::vivado::settable $kind]} {
            error "a $kind has no property $name that may be set"
        }
        set ::vivado::value($object,$name) $value
        if {$kind eq "cell" && [dict exists $::vivado::catalogue $core actual]} {
            lassign [dict get $::vivado::catalogue $core actual] actual asked
            if {$name eq "CONFIG.$asked"} {
                # Dividers are whole numbers: 1,500 MHz / N.
                set ::vivado::value($object,CONFIG.$actual) [expr {1500.0 / ceil(1500.0 / $value)}]
            }
        }
    }
}

# -- packaged cores --------------------------------------------------------------------------------

namespace eval ::ipx {}
command ipx::package_project {-import_files -force} {-root_dir -vendor -library -taxonomy -set_current} 0 0 {
    foreach option {-root_dir -vendor -library} {
        has $option
    }
    set top $::vivado::value(sources_1,top)
    new core component
    dict set ::vivado::state core_folder [has -root_dir]
    dict set ::vivado::state core_ports [ports_of $top]
    set found [interfaces_of [dict get $::vivado::state core_ports]]
    foreach name $found {
        new core/$name bus_interface
        if {[string match s_axi_* $name]} {
            new core/$name/map memory_map
            new core/$name/map/reg0 address_block
        }
    }
    dict set ::vivado::state core_interfaces $found
    dict set ::vivado::state core_files [dict get $::vivado::state sources]
}
command ipx::current_core {} {} 0 0 { return [need core component] }
command ipx::infer_bus_interface {} {} 3 3 {
    lassign $rest port type core
    need $core component
    if {![regexp {^xilinx.com:signal:(clock|reset|interrupt)_rtl:1.0$} $type]} {
        error "no such bus: $type"
    }
    foreach entry [dict get $::vivado::state core_ports] {
        if {[lindex $entry 0] eq $port} {
            return [new core/$port bus_interface]
        }
    }
    error "the core has no port $port"
}
command ipx::get_bus_interfaces {-quiet} {-of_objects} 1 1 {
    need [has -of_objects] component
    set name core/[lindex $rest 0]
    return [expr {[info exists ::vivado::kind($name)] ? $name : {}}]
}
command ipx::associate_bus_interfaces {} {-busif -clock -reset} 1 1 {
    need [lindex $rest 0] component
    foreach {option name} $given {
        need core/$name bus_interface
    }
    if {[dict exists $given -busif]} {
        dict lappend ::vivado::state associated [dict get $given -busif]
    }
}
command ipx::get_bus_parameters {-quiet} {-of_objects} 1 1 {
    set name [need [has -of_objects] bus_interface]/[lindex $rest 0]
    return [expr {[info exists ::vivado::kind($name)] ? $name : {}}]
}
command ipx::add_bus_parameter {} {} 2 2 {
    lassign $rest name interface
    return [new [need $interface bus_interface]/$name bus_parameter]
}
command ipx::get_memory_maps {} {-of_objects} 1 1 {
    need [has -of_objects] component
    return [need core/[lindex $rest 0]/map memory_map]
}
command ipx::get_address_blocks {} {-of_objects} 0 0 {
    return [need [need [has -of_objects] memory_map]/reg0 address_block]
}
command ipx::add_register {} {} 2 2 {
    lassign $rest name block
    set register [need $block address_block]/$name
    if {[info exists ::vivado::kind($register)]} {
        error "there is a register $name"
    }
    dict lappend ::vivado::state registers $name
    return [new $register register]
}
command ipx::create_xgui_files {} {} 1 1 { need [lindex $rest 0] component }
command ipx::update_checksums {} {} 1 1 { need [lindex $rest 0] component }
command ipx::check_integrity {-quiet} {} 1 1 {
    need [lindex $rest 0] component
    # Every AXI interface has a clock, and clock, reset and interrupt are interfaces.
    foreach name [dict get $::vivado::state core_interfaces] {
        if {$name ni [dict get $::vivado::state associated]} {
            return 0
        }
    }
    foreach entry [dict get $::vivado::state core_ports] {
        lassign $entry port
        set described [info exists ::vivado::kind(core/$port)]
        foreach name [dict get $::vivado::state core_interfaces] {
            set described [expr {$described || [string match ${name}_* $port]}]
        }
        if {!$described} {
            return 0
        }
    }
    return 1
}
command ipx::save_core {} {} 1 1 {
    need [lindex $rest 0] component
    touch [file join [dict get $::vivado::state core_folder] component.xml] \
        "$::vivado::value(core,name) $::vivado::value(core,version)"
}
command update_ip_catalog {} {} 0 0 {
    set folder $::vivado::value([current_project],ip_repo_paths)
    if {![file exists [file join $folder component.xml]]} {
        error "update_ip_catalog: no core in $folder"
    }
}

# -- block designs ---------------------------------------------------------------------------------

command create_bd_design {} {} 1 1 { dict set ::vivado::state cells {} }
command create_bd_cell {} {-type -vlnv} 1 1 {
    if {[has -type] ne "ip"} {
        error "create_bd_cell: -type must be ip"
    }
    lassign [split [has -vlnv] :] vendor library name release
    set cell [new [lindex $rest 0] cell]
    if {$vendor eq "celosia"} {
        if {$library ne "accelerators" || $name ne $::vivado::value(core,name)
                || $release ne $::vivado::value(core,version)} {
            error "no core [has -vlnv] in the catalogue"
        }
        set ::vivado::value($cell,CORE) engine
        set ::vivado::value($cell,TOP) $name
        dict set ::vivado::state sources [dict get $::vivado::state core_files]
    } elseif {[dict exists $::vivado::catalogue $name]
            && $release eq [dict get $::vivado::catalogue $name version]} {
        set ::vivado::value($cell,CORE) $name
    } else {
        error "no core [has -vlnv] in the catalogue"
    }
    dict lappend ::vivado::state cells $cell
    return $cell
}
command apply_bd_automation {} {-rule -config} 1 1 {
    set cell [need [lindex $rest 0] cell]
    set core $::vivado::value($cell,CORE)
    if {[has -rule] ne "xilinx.com:bd_rule:$core"} {
        error "no rule [has -rule] for $core"
    }
    set config [has -config]
    if {[dict get $config apply_board_preset] ne "1"} {
        error "the board's preset is not applied: memory would not work"
    }
    if {$core eq "processing_system7" && [dict get $config make_external] ne "FIXED_IO, DDR"} {
        error "the pins of memory are not connected"
    }
    dict for {name value} [dict get $::vivado::catalogue $core preset] {
        set ::vivado::value($cell,CONFIG.$name) $value
    }
}
command get_bd_pins {} {} 1 1 { return [find_pin [lindex $rest 0] pin] }
command get_bd_intf_pins {} {} 1 1 { return [find_pin [lindex $rest 0] interface] }
command connect_bd_intf_net {} {} 2 2 {
    foreach name $rest {
        need $name interface
        if {[info exists ::vivado::value($name,NET)]} {
            error "interface $name is connected already"
        }
        set ::vivado::value($name,NET) $rest
    }
}
command connect_bd_net {} {} 2 2 {
    lassign $rest from to
    foreach name $rest {
        need $name pin
    }
    if {[info exists ::vivado::value($to,NET)]} {
        error "pin $to is connected already"
    }
    lassign [split $from /] cell pin
    if {$pin ni [lindex [faces $cell] 2]} {
        error "$from drives nothing: it is an input"
    }
    set ::vivado::value($to,NET) $from
}
command get_bd_addr_spaces {} {} 1 1 { return [new space:[lindex $rest 0] space] }
command get_bd_addr_segs {} {-of_objects} 0 0 {
    set object [has -of_objects]
    if {[info exists ::vivado::kind($object)] && $::vivado::kind($object) eq "interface"} {
        return [new $object/reg0 segment]
    }
    need $object space
    return [dict get $::vivado::state segments $object]
}
command assign_bd_address {} {-offset -range -target_address_space} 0 1 {
    if {[llength $rest]} {
        need [lindex $rest 0] segment
        need [has -target_address_space] space
        if {[has -offset] % [has -range]} {
            error "address [has -offset] is no multiple of the range [has -range]"
        }
        dict set ::vivado::state control [list [has -offset] [has -range]]
        return
    }
    # What is left: memory behind each slave interface of the processing system.
    foreach name [dict get $::vivado::state core_interfaces] {
        if {![string match m_axi_* $name]} {
            continue
        }
        set segments {}
        foreach segment [dict get $::vivado::catalogue $::vivado::value(ps,CORE) segments] {
            lappend segments [new /engine/$name/SEG_ps_HP_$segment segment]
        }
        dict set ::vivado::state segments space:engine/$name $segments
    }
}
command exclude_bd_addr_seg {} {} 1 1 {
    need [lindex $rest 0] segment
    dict lappend ::vivado::state excluded [lindex $rest 0]
}
command validate_bd_design {} {} 0 0 {
    foreach cell [dict get $::vivado::state cells] {
        lassign [faces $cell] interfaces inputs
        foreach name [concat $interfaces $inputs] {
            if {![info exists ::vivado::value($cell/$name,NET)]} {
                error "$cell/$name is not connected"
            }
        }
    }
    dict get $::vivado::state control
    foreach space [dict keys [dict get $::vivado::state segments]] {
        foreach segment [dict get $::vivado::state segments $space] {
            if {![string match *DDR* $segment] && $segment ni [dict get $::vivado::state excluded]} {
                error "$segment is no memory and may be written"
            }
        }
    }
    dict set ::vivado::state validated 1
}
command save_bd_design {} {} 0 0 {
    dict get $::vivado::state validated
    new system.bd file
}
command generate_target {} {} 2 2 {
    need [lindex $rest 1] file
    set folder [file join [dict get $::vivado::state folder] system.gen sources_1 bd system]
    touch [file join $folder hw_handoff system.hwh] hwh
    touch [file join $folder hdl system_wrapper.v] "\nmodule system_wrapper();\nendmodule"
}
command make_wrapper {-top} {-files} 0 0 {
    need [has -files] file
    return [file join [dict get $::vivado::state folder] system.gen sources_1 bd system hdl system_wrapper.v]
}

# -- runs, designs, reports --------------------------------------------------------------------

command get_runs {} {} 1 1 { return [need [lindex $rest 0] run] }
command reset_run {} {} 1 1 { set ::vivado::value([need [lindex $rest 0] run],PROGRESS) 0% }
command launch_runs {} {-to_step -jobs} 1 1 {
    set run [need [lindex $rest 0] run]
    set folder $::vivado::value($run,DIRECTORY)
    set said [license [expr {$run eq "synth_1" ? "Synthesis" : "Implementation"}]]
    touch [file join $folder runme.log] "INFO: a run\n$said"
    if {$said ne ""} {
        set ::vivado::value($run,STATUS) "synth_design ERROR"
        return
    }
    if {$run eq "impl_1" && $::vivado::value(synth_1,PROGRESS) ne "100%"} {
        error "launch_runs: synth_1 has not run"
    }
    if {[dict exists $given -to_step]} {
        if {[dict get $given -to_step] ne "write_bitstream"} {
            error "no step [dict get $given -to_step]"
        }
        touch [file join $folder $::vivado::value(sources_1,top).bit] bits
    } elseif {$run eq "impl_1"} {
        if {$::vivado::value(impl_1,PROGRESS) eq "100%"} {
            error "launch_runs: impl_1 has run; reset it first"
        }
        dict set ::vivado::state slack [lindex $::vivado::slacks 0]
        set ::vivado::slacks [lrange $::vivado::slacks 1 end]
    }
    set ::vivado::value($run,PROGRESS) 100%
    set ::vivado::value($run,STATUS) done
}
command wait_on_run {} {} 1 1 { need [lindex $rest 0] run }
command open_run {} {} 1 1 { dict set ::vivado::state design [need [lindex $rest 0] run] }
command close_design {} {} 0 0 { dict unset ::vivado::state design }
command read_verilog {} {} 1 1 { dict set ::vivado::state sources [lindex $rest 0] }
command read_xdc {} {-mode} 1 1 {
    if {[has -mode] ne "out_of_context"} {
        error "read_xdc: no mode [has -mode]"
    }
    dict set ::vivado::state constraints [lindex $rest 0]
}
command synth_design {} {-top -part -mode} 0 0 {
    set said [license Synthesis]
    if {$said ne ""} {
        error $said
    }
    dict set ::vivado::state core_ports [ports_of [has -top]]
    dict set ::vivado::state design synthesised
    dict set ::vivado::state slack [lindex $::vivado::slacks 0]
    uplevel #0 [list source [dict get $::vivado::state constraints]]
}
command create_clock {} {-name -period} 1 1 {
    need [lindex $rest 0] port
    dict set ::vivado::state period [has -period]
}
command get_ports {} {} 1 1 {
    foreach entry [dict get $::vivado::state core_ports] {
        if {[lindex $entry 0] eq [lindex $rest 0]} {
            return [new [lindex $rest 0] port]
        }
    }
    error "no ports matched '[lindex $rest 0]'"
}
command get_timing_paths {-quiet} {-delay_type -max_paths} 0 0 {
    dict get $::vivado::state design
    set ::vivado::value(path_max,SLACK) [dict get $::vivado::state slack]
    set ::vivado::value(path_min,SLACK) 0.011
    return path_[has -delay_type]
}
proc write_or_return {given text} {
    dict get $::vivado::state design
    if {[dict exists $given -return_string]} {
        return $text
    }
    touch [dict get $given -file] $text
}
command report_utilization {-hierarchical -return_string} {-file} 0 0 {
    write_or_return $given {
+----------------------------+--------+-------+------------+-----------+-------+
|          Site Type         |  Used  | Fixed | Prohibited | Available | Util% |
+----------------------------+--------+-------+------------+-----------+-------+
| CLB LUTs*                  | 101234 |     0 |          0 |    274080 | 36.94 |
|   LUT as Logic             | 100000 |     0 |          0 |    274080 | 36.49 |
| CLB Registers              |  54321 |     0 |          0 |    548160 |  9.91 |
| Block RAM Tile             |  210.5 |     0 |          0 |       912 | 23.08 |
|   RAMB36/FIFO*             |    200 |     0 |          0 |       912 | 21.93 |
| DSPs                       |    768 |     0 |          0 |      2520 | 30.48 |
+----------------------------+--------+-------+------------+-----------+-------+}
}
command report_timing_summary {} {-delay_type -max_paths -file} 0 0 { write_or_return $given timing }
command report_power {-return_string} {-file} 0 0 {
    write_or_return $given "| Total On-Chip Power (W)  | 4.321        |"
}
command write_hw_platform {-fixed -include_bit -force} {-file} 0 0 { touch [has -file] xsa }

# Commands that are not above are no commands, of Tcl's shell neither.
proc unknown {name args} { error "invalid command name \"$name\"" }

set argv0 [lindex $argv 0]
set argv [lrange $argv 1 end]
source $argv0
