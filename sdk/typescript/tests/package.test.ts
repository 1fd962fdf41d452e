import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Synap } from "../src/index.js";
import { PACKAGE, run, Server } from "./server.js";

const bin = (name: string) => join(PACKAGE, "node_modules/.bin", name);

/** The text of a program with all it needs, as a bundler puts it together for browsers. */
async function bundle(program: string): Promise<string> {
  const { outputFiles, warnings } = await build({
    stdin: { contents: program, resolveDir: PACKAGE },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  expect(warnings).toEqual([]);
  return (outputFiles[0] as { text: string }).text;
}

describe("a bundle", () => {
  test("holds no more than what is used", async () => {
    const whole = await bundle('import { Synap } from "@synap/sdk"; console.log(new Synap());');
    const errors = await bundle('import { KeyNotFoundError } from "@synap/sdk"; console.log(KeyNotFoundError);');
    expect(whole).toContain("sortedset.zadd");
    expect(errors).not.toContain("sortedset.zadd");
    expect(errors).not.toContain("QUEUE_FULL");
    expect(errors.length).toBeLessThan(1_000);
    expect(whole.length).toBeLessThan(60_000);
  });

  test("for browsers has nothing of Node", async () => {
    const whole = await bundle('import { Synap } from "@synap/sdk"; console.log(new Synap());');
    expect(whole).not.toMatch(/require\(|node:|Sec-WebSocket|process\./);
  });
});

describe("the package", () => {
  const { version } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as { version: string };
  let folder: string;
  let server: Server;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "synap-package-"));
    server = await Server.start();
    run("npm", ["pack", "--silent", "--pack-destination", folder], PACKAGE);
    mkdirSync(join(folder, "user"));
    const use = join(folder, "user");
    writeFileSync(join(use, "package.json"), '{ "private": true }');
    run("npm", ["install", "--silent", "--prefer-offline", join(folder, `synap-sdk-${version}.tgz`)], use);
    folder = use;
  }, 60_000);

  afterAll(async () => {
    await server.stop();
    rmSync(join(folder, ".."), { recursive: true, force: true });
  });

  const body = `
const synap = new Synap({ url: process.argv[2] });
synap.kv.set({ key: "greeting", value: "hello" })
  .then(() => synap.kv.get({ key: "greeting" }))
  .then(({ value }) => console.log(value))
  .then(() => synap.close());
`;

  test("has the version of the server it is made with", async () => {
    const synap = new Synap({ url: server.url });
    expect((await synap.admin.health()).version).toBe(version);
    await synap.close();
  });

  test("works as an ES module", () => {
    writeFileSync(join(folder, "use.mjs"), `import { Synap } from "@synap/sdk";${body}`);
    expect(run(process.execPath, ["use.mjs", server.url], folder)).toBe("hello\n");
  });

  test("works as CommonJS", () => {
    writeFileSync(join(folder, "use.cjs"), `const { Synap } = require("@synap/sdk");${body}`);
    expect(run(process.execPath, ["use.cjs", server.url], folder)).toBe("hello\n");
  });

  test("has types for both, strict ones", () => {
    const typed = `
const synap = new Synap({ url: "http://127.0.0.1:15500", transport: "http" });
export async function read(): Promise<string | null> {
  const { value } = await synap.kv.get<string>({ key: "a" });
  // @ts-expect-error: no such field
  await synap.kv.set({ key: "a", value: 1, tll: 5 });
  // @ts-expect-error: a value is needed
  await synap.kv.set({ key: "a" });
  for await (const event of synap.stream.subscribe<{ text: string }>({ room: "r" })) console.log(event.data.text);
  const error: SynapError = new KeyNotFoundError("no such key");
  return value ?? error.code;
}
`;
    const imports = 'import { KeyNotFoundError, Synap, type SynapError } from "@synap/sdk";';
    writeFileSync(join(folder, "use.mts"), imports + typed);
    writeFileSync(join(folder, "use.cts"), imports + typed);
    const compilerOptions = { strict: true, module: "NodeNext", noEmit: true, lib: ["ES2022", "DOM"], types: [] };
    const files = ["use.mts", "use.cts"];
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
    expect(run(bin("tsc"), ["-p", "."], folder)).toBe("");
  });
});
