import { describe, expect, test } from "vitest";
import { decode, encode } from "../src/json.js";

describe("JSON", () => {
  const texts = [
    '{"a":"9007199254740993","b":"\\\\","c":"\\"12345678901234567890\\"","d":[]}',
    '"1234567890123456789"',
    "[1.12345678901234567,1e400,-0,12345678901234567e3]",
    "1234567890123456",
  ];

  test("without integers past 2^53 is what JSON.parse makes of it", () => {
    for (const text of texts) expect(decode(text, true)).toEqual(JSON.parse(text));
  });

  test("with them holds bigints, in strings or behind them nothing is touched", () => {
    expect(
      decode('{"9007199254740993":9007199254740993,"s":"x\\\\","n":[-9223372036854775808,9007199254740991]}', true),
    ).toEqual({
      "9007199254740993": 9007199254740993n,
      s: "x\\",
      n: [-9223372036854775808n, 9007199254740991],
    });
    expect(decode("18446744073709551615", true)).toBe(18446744073709551615n);
    expect(decode("9007199254740993", false)).toBe(9007199254740992);
  });

  test("is written with bigints as numbers, and comes back the same", () => {
    const value = { big: 2n ** 63n, list: [1n, "2", { deep: -(2n ** 60n) }], text: "bigint: 12345678901234567890" };
    expect(encode(value)).toBe(
      '{"big":9223372036854775808,"list":[1,"2",{"deep":-1152921504606846976}],"text":"bigint: 12345678901234567890"}',
    );
    expect(decode(encode(value), true)).toEqual({ ...value, list: [1, "2", { deep: -(2n ** 60n) }] });
  });

  test("of a long string is read", () => {
    const text = JSON.stringify([`${"x".repeat(2_000_000)}\\`, 1]).replace(",1]", ",12345678901234567890]");
    expect((decode(text, true) as unknown[])[1]).toBe(12345678901234567890n);
  });

  test("that cannot be written is refused", () => {
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    expect(() => encode(circle)).toThrow(TypeError);
  });
});
