import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConnectionError, ERRORS, TimeoutError } from "../src/index.js";
import { runProgram } from "./programs.js";
import { PACKAGE, ROOT, run, Server } from "./server.js";

const DEFAULT_URL = "http://127.0.0.1:15500";
// Inside the package, so that programs find it by its name.
const FOLDER = join(PACKAGE, "tests/.programs");
// With these, the programs are TypeScript; without, JavaScript.
const TYPES = /<[\w{}:; ]+>/g;

interface Program {
  name: string;
  text: string;
  /** What it prints, as the page says. */
  says: string;
}

function programsIn(file: string): Program[] {
  const page = readFileSync(join(ROOT, file), "utf8");
  return [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, text = ""], index) => ({
    name: `${file.replace(/\W/g, "-")}-${index}`,
    text,
    says: [...text.matchAll(/^\/\/ → (.*)$/gm)].map(([, line]) => `${line}\n`).join(""),
  }));
}

const PROGRAMS = [...programsIn("docs/typescript.md"), ...programsIn("sdk/typescript/README.md")];
let server: Server;

beforeAll(async () => {
  server = await Server.start();
  mkdirSync(FOLDER, { recursive: true });
});

afterAll(async () => {
  await server.stop();
  rmSync(FOLDER, { recursive: true, force: true });
});

describe("the programs of the documentation", () => {
  test("are as strict as the kit", () => {
    for (const { name, text } of PROGRAMS) writeFileSync(join(FOLDER, `${name}.mts`), text);
    const files = PROGRAMS.map(({ name }) => `${name}.mts`);
    writeFileSync(join(FOLDER, "tsconfig.json"), JSON.stringify({ extends: "../tsconfig.json", files, include: [] }));
    expect(run(join(PACKAGE, "node_modules/.bin/tsc"), ["-p", FOLDER], PACKAGE)).toBe("");
  });

  for (const { name, text, says } of PROGRAMS) {
    test(`${name} prints what the page says`, async () => {
      const path = join(FOLDER, `${name}.mjs`);
      writeFileSync(path, text.replace(TYPES, "").replaceAll(DEFAULT_URL, server.url));
      expect(await runProgram(path)).toBe(says);
    });
  }
});

test("every error has its place in the guide", () => {
  const page = readFileSync(join(ROOT, "docs/typescript.md"), "utf8");
  const own = [new ConnectionError("", false), new TimeoutError("", false)].map(({ code }) => code);
  for (const code of [...Object.keys(ERRORS), ...own]) expect(page).toContain(`\`${code}\``);
});
