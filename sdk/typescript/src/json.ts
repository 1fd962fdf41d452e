// JSON with integers of any size. JSON.parse rounds those past 2^53, and JSON.stringify refuses bigints.

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
const LONG = /\d{16}/;
// Nobody can have put it into a string on purpose.
const MARK = `bigint-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}:`;
const MARKED = new RegExp(`"${MARK}(-?\\d+)"`, "g");

/** A value as JSON; bigints become numbers with all their digits. */
export function encode(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  const marked = JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${MARK}${part}` : part));
  return marked.replace(MARKED, "$1");
}

/** The value of a JSON text. With `bigints`, an integer that a number cannot hold exactly becomes a bigint. */
export function decode(text: string, bigints: boolean): unknown {
  if (!bigints || !LONG.test(text)) return JSON.parse(text);
  const marked = outsideStrings(text, (part) => part.replace(NUMBER, mark));
  return JSON.parse(marked, (_, part) =>
    typeof part === "string" && part.startsWith(MARK) ? BigInt(part.slice(MARK.length)) : part,
  );
}

function mark(number: string): string {
  const isExact = number.length < 16 || /[.eE]/.test(number) || Number.isSafeInteger(Number(number));
  return isExact ? number : `"${MARK}${number}"`;
}

/** The text with everything that is not within quotes replaced. */
function outsideStrings(text: string, replace: (part: string) => string): string {
  const parts: string[] = [];
  let start = 0;
  for (let quote = text.indexOf('"'); quote >= 0; quote = text.indexOf('"', start)) {
    const end = endOfString(text, quote);
    parts.push(replace(text.slice(start, quote)), text.slice(quote, end));
    start = end;
  }
  parts.push(replace(text.slice(start)));
  return parts.join("");
}

/** The index behind the string that begins at `quote`. */
function endOfString(text: string, quote: number): number {
  let end = quote;
  let backslashes: number;
  do {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    backslashes = 0;
    while (text[end - 1 - backslashes] === "\\") backslashes++;
  } while (backslashes % 2 === 1);
  return end + 1;
}
