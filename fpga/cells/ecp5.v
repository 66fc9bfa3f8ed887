// Blocks of the ECP5 that Yosys maps to and has no model of, as far as it uses them, for
// simulation: Lattice FPGA-TN-02204 (memory) and FPGA-TN-02205 (multipliers). What is not
// modelled is an error when the design is elaborated.

// Two ports of up to 18 bits, or one that writes 36 bits (both inputs) and one that reads them.
module DP16KD #(
  parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
  parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG", parameter RESETMODE = "SYNC",
  parameter ASYNC_RESET_RELEASE = "SYNC", parameter CSDECODE_A = "0b000",
  parameter CSDECODE_B = "0b000", parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB",
  parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL", parameter GSR = "AUTO"
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
    DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
    DOA4, DOA3, DOA2, DOA1, DOA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
    DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
    DOB4, DOB3, DOB2, DOB1, DOB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0
);
  parameter FILL = 0;
  localparam WIDTH = DATA_WIDTH_A;
  localparam LOW = WIDTH == 36 ? 5 : WIDTH == 18 ? 4 : WIDTH == 9 ? 3 : WIDTH == 4 ? 2
                 : WIDTH == 2 ? 1 : 0;
  localparam PARTS = WIDTH == 36 ? 4 : WIDTH == 18 ? 2 : 1;
  localparam PART = WIDTH / PARTS;
  localparam WORDS = 1 << (14 - LOW);
  generate
    if (DATA_WIDTH_A != DATA_WIDTH_B)
      $error("a block RAM's ports have different widths: not modelled");
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA"
        || CLKBMUX != "CLKB")
      $error("a block RAM is used in a way that is not modelled");
  endgenerate
  wire [17:0] data_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8,
    DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] data_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8,
    DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3,
    ADA2, ADA1, ADA0};
  wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3,
    ADB2, ADB1, ADB0};
  wire [35:0] in_a = WIDTH == 36 ? {data_b, data_a} : data_a, in_b = data_b;
  wire [13:LOW] row_a = address_a[13:LOW], row_b = address_b[13:LOW];
  wire chosen_a = CEA && {CSA2, CSA1, CSA0} == 0, chosen_b = CEB && {CSB2, CSB1, CSB0} == 0;
  reg [WIDTH-1:0] rows [0:WORDS-1];
  reg [WIDTH-1:0] read_a, read_b, next_a, next_b;
  integer index, part;
  initial begin
    for (index = 0; index < WORDS; index = index + 1) rows[index] = {2{(index + 1) * FILL}};
    read_a = 0;
    read_b = 0;
  end
  always @* begin
    next_a = rows[row_a];
    next_b = rows[row_b];
    for (part = 0; part < PARTS; part = part + 1) begin
      if (PARTS == 1 || address_a[part]) next_a[PART*part +: PART] = in_a[PART*part +: PART];
      if (PARTS == 1 || address_b[part]) next_b[PART*part +: PART] = in_b[PART*part +: PART];
    end
  end
  // A reset that does not wait for the clock holds while it lasts.
  wire holds_a = RSTA && RESETMODE == "ASYNC", holds_b = RSTB && RESETMODE == "ASYNC";
  always @(posedge CLKA) if (chosen_a) begin
    if (WEA) rows[row_a] <= next_a;
    if (RSTA) read_a <= 0;
    else if (!WEA || WRITEMODE_A == "READBEFOREWRITE") read_a <= rows[row_a];
    else if (WRITEMODE_A == "WRITETHROUGH") read_a <= next_a;
  end else if (holds_a) read_a <= 0;
  always @(posedge CLKB) if (chosen_b) begin
    if (WEB) rows[row_b] <= next_b;
    if (RSTB) read_b <= 0;
    else if (!WEB || WRITEMODE_B == "READBEFOREWRITE") read_b <= rows[row_b];
    else if (WRITEMODE_B == "WRITETHROUGH") read_b <= next_b;
  end else if (holds_b) read_b <= 0;
  wire [35:0] found_a = holds_a ? 0 : read_a, found_b = holds_b ? 0 : read_b;
  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
    DOA4, DOA3, DOA2, DOA1, DOA0} = WIDTH == 36 ? found_b[17:0] : found_a[17:0];
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
    DOB4, DOB3, DOB2, DOB1, DOB0} = WIDTH == 36 ? found_b[35:18] : found_b[17:0];
endmodule

// The product of two factors, each signed or not, without registers.
module MULT18X18D (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
    P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB
);
  wire signed [18:0] a = {SIGNEDA && A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7,
    A6, A5, A4, A3, A2, A1, A0};
  wire signed [18:0] b = {SIGNEDB && B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7,
    B6, B5, B4, B3, B2, B1, B0};
  wire signed [35:0] product = a * b;
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
    P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
    product;
endmodule
