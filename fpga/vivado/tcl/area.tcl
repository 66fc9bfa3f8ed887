# The core alone, out of context: area and timing without a system round it, in minutes.

proc ::celosia::measure_area {root out clock} {
    create_project -in_memory -part [setting part]
    read_verilog [sources $root]
    read_xdc -mode out_of_context [constrain [file join $out [setting top]_alone.xdc] $clock]
    synth_design -top [setting top] -part [setting part] -mode out_of_context
    set numbers [write_reports $out]
    set met [is_met $numbers]
    set values [dict merge [heading area $clock $clock] $numbers]
    # Before placement the delays of wires are estimates.
    dict set values timing_met [expr {$met ? "true" : "false"}]
    dict set values routed false
    write_json [file join $out area.json] $values
    close_project
    return [expr {$met ? 0 : 2}]
}
