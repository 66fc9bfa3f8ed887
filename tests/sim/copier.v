// A small AXI master for tests of the harness: copies one burst from memory to memory.
// Registers: 0x20 start, 0x28 interrupt enable, 0x30 source, 0x34 destination, 0x38 beats - 1,
// 0x3c a rule to break: 1 early WLAST, 2 AR changes while waiting, 3 wvalid falls, 4 no INCR.
module copier(aclk, aresetn, interrupt,
    s_axi_ctrl_awaddr, s_axi_ctrl_awprot, s_axi_ctrl_awvalid, s_axi_ctrl_awready,
    s_axi_ctrl_wdata, s_axi_ctrl_wstrb, s_axi_ctrl_wvalid, s_axi_ctrl_wready,
    s_axi_ctrl_bresp, s_axi_ctrl_bvalid, s_axi_ctrl_bready,
    s_axi_ctrl_araddr, s_axi_ctrl_arprot, s_axi_ctrl_arvalid, s_axi_ctrl_arready,
    s_axi_ctrl_rdata, s_axi_ctrl_rresp, s_axi_ctrl_rvalid, s_axi_ctrl_rready,
    m_axi_gmem0_arid, m_axi_gmem0_araddr, m_axi_gmem0_arlen, m_axi_gmem0_arsize,
    m_axi_gmem0_arburst, m_axi_gmem0_arvalid, m_axi_gmem0_arready,
    m_axi_gmem0_rid, m_axi_gmem0_rdata, m_axi_gmem0_rresp, m_axi_gmem0_rlast,
    m_axi_gmem0_rvalid, m_axi_gmem0_rready,
    m_axi_gmem0_awid, m_axi_gmem0_awaddr, m_axi_gmem0_awlen, m_axi_gmem0_awsize,
    m_axi_gmem0_awburst, m_axi_gmem0_awvalid, m_axi_gmem0_awready,
    m_axi_gmem0_wdata, m_axi_gmem0_wstrb, m_axi_gmem0_wlast, m_axi_gmem0_wvalid,
    m_axi_gmem0_wready, m_axi_gmem0_bid, m_axi_gmem0_bresp, m_axi_gmem0_bvalid,
    m_axi_gmem0_bready);
  input aclk, aresetn;
  output interrupt;
  input [11:0] s_axi_ctrl_awaddr, s_axi_ctrl_araddr;
  input [2:0] s_axi_ctrl_awprot, s_axi_ctrl_arprot;
  input s_axi_ctrl_awvalid, s_axi_ctrl_wvalid, s_axi_ctrl_bready, s_axi_ctrl_arvalid, s_axi_ctrl_rready;
  input [31:0] s_axi_ctrl_wdata;
  input [3:0] s_axi_ctrl_wstrb;
  output s_axi_ctrl_awready, s_axi_ctrl_wready, s_axi_ctrl_arready;
  output reg s_axi_ctrl_bvalid, s_axi_ctrl_rvalid;
  output [1:0] s_axi_ctrl_bresp, s_axi_ctrl_rresp;
  output reg [31:0] s_axi_ctrl_rdata;
  output m_axi_gmem0_arid, m_axi_gmem0_awid;
  output [39:0] m_axi_gmem0_araddr, m_axi_gmem0_awaddr;
  output [7:0] m_axi_gmem0_arlen, m_axi_gmem0_awlen;
  output [2:0] m_axi_gmem0_arsize, m_axi_gmem0_awsize;
  output [1:0] m_axi_gmem0_arburst, m_axi_gmem0_awburst;
  output m_axi_gmem0_arvalid, m_axi_gmem0_awvalid, m_axi_gmem0_wvalid, m_axi_gmem0_wlast;
  input m_axi_gmem0_arready, m_axi_gmem0_awready, m_axi_gmem0_wready;
  input m_axi_gmem0_rid, m_axi_gmem0_rlast, m_axi_gmem0_rvalid, m_axi_gmem0_bid, m_axi_gmem0_bvalid;
  input [63:0] m_axi_gmem0_rdata;
  input [1:0] m_axi_gmem0_rresp, m_axi_gmem0_bresp;
  output m_axi_gmem0_rready, m_axi_gmem0_bready;
  output [63:0] m_axi_gmem0_wdata;
  output [7:0] m_axi_gmem0_wstrb;

  reg [31:0] source, destination, start_cycle, first_beat, last_beat, response_cycle, cycle;
  reg [7:0] length;
  reg [2:0] broken;
  reg enable, done, dropped;
  reg [1:0] responses;
  reg [2:0] state;  // 0 idle, 1 AR, 2 R, 3 AW, 4 W, 5 B
  reg [7:0] count;
  reg [63:0] data [0:255];

  // Control: an address and its data are taken together, one cycle after both are there.
  wire write = s_axi_ctrl_awvalid & s_axi_ctrl_wvalid & ~s_axi_ctrl_bvalid;
  assign s_axi_ctrl_awready = write;
  assign s_axi_ctrl_wready = write;
  assign s_axi_ctrl_arready = ~s_axi_ctrl_rvalid;
  assign s_axi_ctrl_bresp = 0;
  assign s_axi_ctrl_rresp = s_axi_ctrl_araddr[11] ? 2 : 0;

  assign interrupt = enable & done;
  assign m_axi_gmem0_arid = 0;
  assign m_axi_gmem0_awid = 0;
  assign m_axi_gmem0_arsize = 3;
  assign m_axi_gmem0_awsize = 3;
  assign m_axi_gmem0_arburst = broken == 4 ? 2 : 1;
  assign m_axi_gmem0_awburst = 1;
  assign m_axi_gmem0_araddr = {8'b0, source};
  assign m_axi_gmem0_awaddr = {8'b0, destination};
  assign m_axi_gmem0_arlen = length;
  assign m_axi_gmem0_awlen = length;
  assign m_axi_gmem0_arvalid = state == 1;
  assign m_axi_gmem0_awvalid = state == 3;
  assign m_axi_gmem0_wvalid = state == 4 & ~dropped;
  assign m_axi_gmem0_wlast = broken == 1 ? count == 0 : count == length;
  assign m_axi_gmem0_wdata = data[count];
  assign m_axi_gmem0_wstrb = 8'hff;
  assign m_axi_gmem0_rready = 1;
  assign m_axi_gmem0_bready = 1;

  always @(posedge aclk) begin
    cycle <= cycle + 1;
    if (write) begin
      s_axi_ctrl_bvalid <= 1;
      case (s_axi_ctrl_awaddr)
        12'h020: begin state <= 1; count <= 0; done <= 0; cycle <= 0; responses <= 0; end
        12'h028: enable <= s_axi_ctrl_wdata[0];
        12'h030: source <= s_axi_ctrl_wdata;
        12'h034: destination <= s_axi_ctrl_wdata;
        12'h038: length <= s_axi_ctrl_wdata[7:0];
        12'h03c: broken <= s_axi_ctrl_wdata[2:0];
        default: ;
      endcase
    end else if (s_axi_ctrl_bready) s_axi_ctrl_bvalid <= 0;
    if (s_axi_ctrl_arvalid & s_axi_ctrl_arready) begin
      s_axi_ctrl_rvalid <= 1;
      case (s_axi_ctrl_araddr)
        12'h000: s_axi_ctrl_rdata <= 32'h4f4c4543;
        12'h030: s_axi_ctrl_rdata <= source;
        12'h040: s_axi_ctrl_rdata <= start_cycle;
        12'h044: s_axi_ctrl_rdata <= first_beat;
        12'h048: s_axi_ctrl_rdata <= last_beat;
        12'h04c: s_axi_ctrl_rdata <= response_cycle;
        12'h050: s_axi_ctrl_rdata <= {30'b0, responses};
        default: s_axi_ctrl_rdata <= 0;
      endcase
    end else if (s_axi_ctrl_rready) s_axi_ctrl_rvalid <= 0;

    if (state == 1) begin
      if (m_axi_gmem0_arready) begin state <= 2; start_cycle <= cycle; end
      else if (broken == 2) source <= source + 8;
    end
    if (state == 2 & m_axi_gmem0_rvalid) begin
      data[count] <= m_axi_gmem0_rdata;
      responses <= responses | m_axi_gmem0_rresp;
      if (count == 0) first_beat <= cycle;
      count <= count + 1;
      if (m_axi_gmem0_rlast) begin state <= 3; count <= 0; last_beat <= cycle; end
    end
    if (state == 3 & m_axi_gmem0_awready) state <= 4;
    if (state == 4) begin
      dropped <= broken == 3 & ~m_axi_gmem0_wready;
      if (m_axi_gmem0_wvalid & m_axi_gmem0_wready) begin
        count <= count + 1;
        if (count == length) begin state <= 5; start_cycle <= cycle; end
      end
    end
    if (state == 5 & m_axi_gmem0_bvalid) begin
      state <= 0;
      done <= 1;
      responses <= responses | m_axi_gmem0_bresp;
      response_cycle <= cycle;
    end
    if (~aresetn) begin
      state <= 0; done <= 0; enable <= 0; broken <= 0; dropped <= 0; cycle <= 0;
      s_axi_ctrl_bvalid <= 0; s_axi_ctrl_rvalid <= 0;
    end
  end
endmodule
