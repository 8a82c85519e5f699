// A multiply-accumulate array and a small processor: something to synthesise. The sizes are set by the job's script.
module filter #(parameter TAPS = 8, parameter WIDTH = 12) (
  input clock, input reset, input signed [WIDTH-1:0] sample, output reg signed [2*WIDTH+3:0] result
);
  reg signed [WIDTH-1:0] line [0:TAPS-1];
  reg signed [2*WIDTH+3:0] sum;
  integer i;
  always @* begin
    sum = 0;
    for (i = 0; i < TAPS; i = i + 1)
      sum = sum + line[i] * $signed((i * 37 + 11) % (1 << (WIDTH - 2)));
  end
  always @(posedge clock) begin
    if (reset) for (i = 0; i < TAPS; i = i + 1) line[i] <= 0;
    else begin
      line[0] <= sample;
      for (i = 1; i < TAPS; i = i + 1) line[i] <= line[i-1];
    end
    result <= sum;
  end
endmodule

module processor #(parameter WIDTH = 16) (
  input clock, input reset, input [15:0] instruction, input [WIDTH-1:0] loaded,
  output reg [WIDTH-1:0] address, output reg [WIDTH-1:0] stored, output reg write
);
  reg [WIDTH-1:0] registers [0:15];
  reg [WIDTH-1:0] counter;
  wire [WIDTH-1:0] a = registers[instruction[7:4]];
  wire [WIDTH-1:0] b = registers[instruction[3:0]];
  reg [WIDTH-1:0] value;
  always @* case (instruction[15:12])
    4'd0: value = a + b;
    4'd1: value = a - b;
    4'd2: value = a & b;
    4'd3: value = a | b;
    4'd4: value = a ^ b;
    4'd5: value = a << b[3:0];
    4'd6: value = a >> b[3:0];
    4'd7: value = $signed(a) >>> b[3:0];
    4'd8: value = a * b;
    4'd9: value = a < b;
    4'd10: value = $signed(a) < $signed(b);
    4'd11: value = loaded;
    4'd12: value = counter;
    4'd13: value = {a[WIDTH/2-1:0], a[WIDTH-1:WIDTH/2]};
    4'd14: value = ~a;
    default: value = instruction[7:0];
  endcase
  always @(posedge clock) begin
    write <= 0;
    if (reset) counter <= 0;
    else begin
      registers[instruction[11:8]] <= value;
      counter <= instruction[15:12] == 4'd12 && a[0] ? b : counter + 1;
      address <= a;
      stored <= b;
      write <= instruction[15:12] == 4'd11;
    end
  end
endmodule

module top #(parameter TAPS = 8, parameter WIDTH = 12, parameter CORES = 1) (
  input clock, input reset, input signed [WIDTH-1:0] sample, input [16*CORES-1:0] instructions,
  input [15:0] loaded, output signed [2*WIDTH+3:0] result, output [16*CORES-1:0] addresses, output [16*CORES-1:0] stored,
  output [CORES-1:0] writes
);
  filter #(.TAPS(TAPS), .WIDTH(WIDTH)) f (clock, reset, sample, result);
  genvar i;
  generate for (i = 0; i < CORES; i = i + 1) begin : cores
    processor p (clock, reset, instructions[16*i +: 16], loaded, addresses[16*i +: 16], stored[16*i +: 16], writes[i]);
  end endgenerate
endmodule
