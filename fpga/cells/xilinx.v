// Blocks of UltraScale+ that Yosys maps to and has no model of, as far as it uses them, for
// simulation: AMD UG573 (block RAM) and UG579 (DSP48E2). What is not modelled is an error when
// the design is elaborated.

// A block RAM of (1 << ADDRESS_BITS) data bits and a parity bit for each 8 of them. Port A reads
// and writes, or of a simple dual port reads; port B likewise, or writes. At full width (twice
// SIDE data bits) both sides of the data belong to one port.
module celosia_ramb #(
  parameter ADDRESS_BITS = 15, parameter SIDE = 32,
  parameter READ_WIDTH_A = 0, parameter READ_WIDTH_B = 0,
  parameter WRITE_WIDTH_A = 0, parameter WRITE_WIDTH_B = 0,
  parameter WRITE_MODE_A = "NO_CHANGE", parameter WRITE_MODE_B = "NO_CHANGE",
  parameter DOA_REG = 0, parameter DOB_REG = 0
) (
  input clock_a, clock_b, enable_a, enable_b, reset_a, reset_b,
  input [ADDRESS_BITS-1:0] address_a, address_b,
  input [SIDE/8-1:0] write_a, input [SIDE/4-1:0] write_b,
  input [SIDE-1:0] data_a, data_b, input [SIDE/8-1:0] parity_a, parity_b,
  output [SIDE-1:0] out_a, out_b, output [SIDE/8-1:0] out_parity_a, out_parity_b
);
  parameter FILL = 0;
  localparam WIDTH = READ_WIDTH_A > 0 ? READ_WIDTH_A : READ_WIDTH_B > 0 ? READ_WIDTH_B
                   : WRITE_WIDTH_A > 0 ? WRITE_WIDTH_A : WRITE_WIDTH_B;
  localparam BITS = WIDTH >= 9 ? WIDTH / 9 * 8 : WIDTH;  // of data
  localparam BYTES = WIDTH >= 9 ? WIDTH / 9 : 1;
  localparam PARITY = WIDTH >= 9 ? BYTES : 0;
  localparam LOW = $clog2(BITS);
  localparam WORDS = 1 << (ADDRESS_BITS - LOW);
  localparam JOINED = BITS > SIDE;

  generate
    if ((READ_WIDTH_A != 0 && READ_WIDTH_A != WIDTH) || (READ_WIDTH_B != 0 && READ_WIDTH_B != WIDTH)
        || (WRITE_WIDTH_A != 0 && WRITE_WIDTH_A != WIDTH)
        || (WRITE_WIDTH_B != 0 && WRITE_WIDTH_B != WIDTH))
      $error("a block RAM's ports have different widths: not modelled");
    if (DOA_REG != 0 || DOB_REG != 0)
      $error("a block RAM has registers at its outputs: not modelled");
    if (JOINED && (READ_WIDTH_B != 0 || WRITE_WIDTH_A != 0))
      $error("a block RAM of full width has two ports that read or write: not modelled");
  endgenerate

  reg [BITS+PARITY-1:0] rows [0:WORDS-1];
  reg [BITS+PARITY-1:0] read_a, read_b;
  integer index;
  initial begin
    for (index = 0; index < WORDS; index = index + 1)
      rows[index] = {(BITS + PARITY + 31) / 32{(index + 1) * FILL}};
    read_a = 0;
    read_b = 0;
  end

  wire [2*SIDE-1:0] data_joined = JOINED ? {data_b, data_a} : {data_b, data_b};
  wire [SIDE/4-1:0] parity_joined = JOINED ? {parity_b, parity_a} : {parity_b, parity_b};
  wire [BITS-1:0] in_a = data_a[(BITS > SIDE ? SIDE : BITS)-1:0];
  wire [BITS-1:0] in_b = data_joined[BITS-1:0];
  wire [ADDRESS_BITS-LOW-1:0] row_a = address_a[ADDRESS_BITS-1:LOW];
  wire [ADDRESS_BITS-LOW-1:0] row_b = address_b[ADDRESS_BITS-1:LOW];
  reg [BITS+PARITY-1:0] next_a, next_b;
  integer byte_a, byte_b;
  always @* begin
    next_a = rows[row_a];
    for (byte_a = 0; byte_a < BYTES; byte_a = byte_a + 1)
      if (write_a[byte_a % (SIDE/8)]) begin
        if (PARITY != 0) begin
          next_a[8*byte_a +: 8] = in_a[8*byte_a +: 8];
          next_a[BITS + byte_a] = parity_a[byte_a % (SIDE/8)];
        end else next_a[BITS-1:0] = in_a;
      end
    next_b = rows[row_b];
    for (byte_b = 0; byte_b < BYTES; byte_b = byte_b + 1)
      if (write_b[byte_b]) begin
        if (PARITY != 0) begin
          next_b[8*byte_b +: 8] = in_b[8*byte_b +: 8];
          next_b[BITS + byte_b] = parity_joined[byte_b];
        end else next_b[BITS-1:0] = in_b;
      end
  end
  wire writes_a = WRITE_WIDTH_A != 0 && |write_a, writes_b = WRITE_WIDTH_B != 0 && |write_b;
  always @(posedge clock_a) if (enable_a) begin
    if (writes_a) rows[row_a] <= next_a;
    if (reset_a) read_a <= 0;
    else if (!writes_a || WRITE_MODE_A == "READ_FIRST") read_a <= rows[row_a];
    else if (WRITE_MODE_A == "WRITE_FIRST") read_a <= next_a;
  end
  always @(posedge clock_b) if (enable_b) begin
    if (writes_b) rows[row_b] <= next_b;
    if (reset_b) read_b <= 0;
    else if (!writes_b || WRITE_MODE_B == "READ_FIRST") read_b <= rows[row_b];
    else if (WRITE_MODE_B == "WRITE_FIRST") read_b <= next_b;
  end
  wire [2*SIDE-1:0] found_a = read_a[BITS-1:0], found_b = read_b[BITS-1:0];
  wire [SIDE/4-1:0] ends_a = PARITY != 0 ? read_a >> BITS : 0;
  wire [SIDE/4-1:0] ends_b = PARITY != 0 ? read_b >> BITS : 0;
  assign out_a = found_a[SIDE-1:0];
  assign out_b = JOINED ? found_a[2*SIDE-1:SIDE] : found_b[SIDE-1:0];
  assign out_parity_a = ends_a[SIDE/8-1:0];
  assign out_parity_b = JOINED ? ends_a[SIDE/4-1:SIDE/8] : ends_b[SIDE/8-1:0];
endmodule

module RAMB36E2 #(
  parameter READ_WIDTH_A = 0, parameter READ_WIDTH_B = 0,
  parameter WRITE_WIDTH_A = 0, parameter WRITE_WIDTH_B = 0,
  parameter WRITE_MODE_A = "NO_CHANGE", parameter WRITE_MODE_B = "NO_CHANGE",
  parameter DOA_REG = 0, parameter DOB_REG = 0,
  parameter INIT_A = 0, parameter INIT_B = 0, parameter SRVAL_A = 0, parameter SRVAL_B = 0
) (
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, RSTRAMARSTRAM, RSTRAMB,
  input REGCEAREGCE, REGCEB, ADDRENA, ADDRENB, RSTREGARSTREG, RSTREGB, SLEEP,
  input [14:0] ADDRARDADDR, ADDRBWRADDR, input [3:0] WEA, input [7:0] WEBWE,
  input [31:0] DINADIN, DINBDIN, input [3:0] DINPADINP, DINPBDINP,
  output [31:0] DOUTADOUT, DOUTBDOUT, output [3:0] DOUTPADOUTP, DOUTPBDOUTP
);
  celosia_ramb #(
    .ADDRESS_BITS(15), .SIDE(32), .READ_WIDTH_A(READ_WIDTH_A), .READ_WIDTH_B(READ_WIDTH_B),
    .WRITE_WIDTH_A(WRITE_WIDTH_A), .WRITE_WIDTH_B(WRITE_WIDTH_B),
    .WRITE_MODE_A(WRITE_MODE_A), .WRITE_MODE_B(WRITE_MODE_B), .DOA_REG(DOA_REG), .DOB_REG(DOB_REG)
  ) ram (
    CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, RSTRAMARSTRAM, RSTRAMB, ADDRARDADDR, ADDRBWRADDR,
    WEA, WEBWE, DINADIN, DINBDIN, DINPADINP, DINPBDINP, DOUTADOUT, DOUTBDOUT, DOUTPADOUTP,
    DOUTPBDOUTP
  );
endmodule

module RAMB18E2 #(
  parameter READ_WIDTH_A = 0, parameter READ_WIDTH_B = 0,
  parameter WRITE_WIDTH_A = 0, parameter WRITE_WIDTH_B = 0,
  parameter WRITE_MODE_A = "NO_CHANGE", parameter WRITE_MODE_B = "NO_CHANGE",
  parameter DOA_REG = 0, parameter DOB_REG = 0,
  parameter INIT_A = 0, parameter INIT_B = 0, parameter SRVAL_A = 0, parameter SRVAL_B = 0
) (
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, RSTRAMARSTRAM, RSTRAMB,
  input REGCEAREGCE, REGCEB, ADDRENA, ADDRENB, RSTREGARSTREG, RSTREGB, SLEEP,
  input [13:0] ADDRARDADDR, ADDRBWRADDR, input [1:0] WEA, input [3:0] WEBWE,
  input [15:0] DINADIN, DINBDIN, input [1:0] DINPADINP, DINPBDINP,
  output [15:0] DOUTADOUT, DOUTBDOUT, output [1:0] DOUTPADOUTP, DOUTPBDOUTP
);
  celosia_ramb #(
    .ADDRESS_BITS(14), .SIDE(16), .READ_WIDTH_A(READ_WIDTH_A), .READ_WIDTH_B(READ_WIDTH_B),
    .WRITE_WIDTH_A(WRITE_WIDTH_A), .WRITE_WIDTH_B(WRITE_WIDTH_B),
    .WRITE_MODE_A(WRITE_MODE_A), .WRITE_MODE_B(WRITE_MODE_B), .DOA_REG(DOA_REG), .DOB_REG(DOB_REG)
  ) ram (
    CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, RSTRAMARSTRAM, RSTRAMB, ADDRARDADDR, ADDRBWRADDR,
    WEA, WEBWE, DINADIN, DINBDIN, DINPADINP, DINPBDINP, DOUTADOUT, DOUTBDOUT, DOUTPADOUTP,
    DOUTPBDOUTP
  );
endmodule

// A or D - A, times B, and C or the sum before it in a chain: registers always on, never reset.
module DSP48E2 #(
  parameter ACASCREG = 1, parameter ADREG = 1, parameter ALUMODEREG = 1, parameter AREG = 1,
  parameter BCASCREG = 1, parameter BREG = 1, parameter CARRYINREG = 1, parameter CARRYINSELREG = 1,
  parameter CREG = 1, parameter DREG = 1, parameter INMODEREG = 1, parameter MREG = 1,
  parameter OPMODEREG = 1, parameter PREG = 1,
  parameter AMULTSEL = "A", parameter BMULTSEL = "B", parameter PREADDINSEL = "A",
  parameter A_INPUT = "DIRECT", parameter B_INPUT = "DIRECT",
  parameter USE_MULT = "MULTIPLY", parameter USE_SIMD = "ONE48"
) (
  input CLK, input [29:0] A, ACIN, input [17:0] B, BCIN, input [47:0] C, PCIN, input [26:0] D,
  input [8:0] OPMODE, input [3:0] ALUMODE, input [4:0] INMODE, input [2:0] CARRYINSEL,
  input CARRYIN, CARRYCASCIN, MULTSIGNIN,
  input CEA1, CEA2, CEB1, CEB2, CEC, CED, CEAD, CEM, CEP, CEALUMODE, CECARRYIN, CECTRL, CEINMODE,
  input RSTA, RSTB, RSTC, RSTD, RSTM, RSTP, RSTALLCARRYIN, RSTALUMODE, RSTCTRL, RSTINMODE,
  output [47:0] P, PCOUT
);
  generate
    if (A_INPUT != "DIRECT" || B_INPUT != "DIRECT" || USE_MULT != "MULTIPLY" || USE_SIMD != "ONE48"
        || BMULTSEL != "B" || PREADDINSEL != "A" || CREG != 0
        || ALUMODEREG + CARRYINREG + CARRYINSELREG + INMODEREG + OPMODEREG != 0)
      $error("a DSP48E2 is used in a way that is not modelled");
  endgenerate
  wire signed [26:0] a = delayed_a[26:0], d = delayed_d;
  reg signed [26:0] a_1, a_2, d_1, difference_1;
  reg signed [17:0] b_1, b_2;
  reg [47:0] product_1, sum_1;
  wire signed [26:0] delayed_a = AREG == 0 ? A[26:0] : AREG == 1 ? a_1 : a_2;
  wire signed [26:0] delayed_d = DREG == 0 ? D : d_1;
  wire signed [17:0] b = BREG == 0 ? B : BREG == 1 ? b_1 : b_2;
  wire signed [26:0] difference =
    (INMODE[2] ? d : 27'sd0) + (INMODE[3] ? -a : a);
  wire signed [26:0] wide = AMULTSEL == "A" ? a : ADREG == 0 ? difference : difference_1;
  wire signed [44:0] product = wide * b;
  wire [47:0] kept = MREG == 0 ? {{3{product[44]}}, product} : product_1;
  wire [47:0] addend = OPMODE[6:4] == 3'b011 ? C : OPMODE[6:4] == 3'b001 ? PCIN : 48'd0;
  wire [47:0] sum = addend + kept;
  always @(posedge CLK) begin
    a_1 <= A[26:0];
    a_2 <= a_1;
    d_1 <= D;
    b_1 <= B;
    b_2 <= b_1;
    difference_1 <= difference;
    product_1 <= {{3{product[44]}}, product};
    sum_1 <= sum;
  end
  // Constant in every use; what else they may say is not modelled, and gives nothing known.
  wire known = OPMODE[3:0] == 4'b0101 && OPMODE[8:7] == 0 && ALUMODE == 0 && CARRYINSEL == 0
               && !CARRYIN;
  assign P = !known ? 48'bx : PREG == 0 ? sum : sum_1, PCOUT = P;
endmodule

// An UltraRAM (AMD UG573): 72 bits, each byte of 8 bits and one of parity written by its enable. What
// a port reads stays while it writes.
module URAM288 #(
  parameter BWE_MODE_A = "PARITY_INTERLEAVED", parameter BWE_MODE_B = "PARITY_INTERLEAVED",
  parameter EN_AUTO_SLEEP_MODE = "FALSE",
  parameter IREG_PRE_A = "FALSE", parameter IREG_PRE_B = "FALSE",
  parameter IS_CLK_INVERTED = 0, parameter OREG_A = "FALSE", parameter OREG_B = "FALSE",
  parameter RST_MODE_A = "SYNC", parameter RST_MODE_B = "SYNC"
) (
  input CLK, SLEEP, EN_A, EN_B, RDB_WR_A, RDB_WR_B, RST_A, RST_B,
  input INJECT_SBITERR_A, INJECT_SBITERR_B, INJECT_DBITERR_A, INJECT_DBITERR_B,
  input [22:0] ADDR_A, ADDR_B, input [8:0] BWE_A, BWE_B, input [71:0] DIN_A, DIN_B,
  output reg [71:0] DOUT_A, DOUT_B
);
  parameter FILL = 0;
  parameter ROWS = 4096;

  generate
    if (IS_CLK_INVERTED || OREG_A != "FALSE" || OREG_B != "FALSE" || IREG_PRE_A != "FALSE"
        || IREG_PRE_B != "FALSE" || BWE_MODE_A != "PARITY_INTERLEAVED"
        || BWE_MODE_B != "PARITY_INTERLEAVED")
      $error("an UltraRAM has registers, or bytes that are enabled otherwise: not modelled");
  endgenerate

  reg [71:0] rows [0:ROWS-1];
  integer index;
  initial begin
    for (index = 0; index < ROWS; index = index + 1) rows[index] = {3{(index + 1) * FILL}};
    DOUT_A = 0;
    DOUT_B = 0;
  end

  wire [$clog2(ROWS)-1:0] row_a = ADDR_A[$clog2(ROWS)-1:0], row_b = ADDR_B[$clog2(ROWS)-1:0];
  reg [71:0] next_a, next_b;
  integer place;
  always @* begin
    next_a = rows[row_a];
    next_b = rows[row_b];
    for (place = 0; place < 8; place = place + 1) begin
      if (BWE_A[place]) begin
        next_a[8*place +: 8] = DIN_A[8*place +: 8];
        next_a[64 + place] = DIN_A[64 + place];
      end
      if (BWE_B[place]) begin
        next_b[8*place +: 8] = DIN_B[8*place +: 8];
        next_b[64 + place] = DIN_B[64 + place];
      end
    end
  end
  always @(posedge CLK) begin
    if (EN_A && RDB_WR_A) rows[row_a] <= next_a;
    if (EN_B && RDB_WR_B) rows[row_b] <= next_b;
    if (RST_A) DOUT_A <= 0;
    else if (EN_A && !RDB_WR_A) DOUT_A <= rows[row_a];
    if (RST_B) DOUT_B <= 0;
    else if (EN_B && !RDB_WR_B) DOUT_B <= rows[row_b];
  end
endmodule
