// Real servers for tests: each a process of its own that can be killed and come back at the same address.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
export const ROOT = join(PACKAGE, "../..");
const VENV_PYTHON = join(ROOT, ".venv/bin/python");
export const PYTHON = process.env["SYNAP_PYTHON"] ?? (existsSync(VENV_PYTHON) ? VENV_PYTHON : "python3");

export interface Settings {
  /** The text of synap.toml. */
  config?: string;
  flags?: string[];
}

/** A server with a data directory of its own. */
export class Server {
  private readonly folder = mkdtempSync(join(tmpdir(), "synap-ts-"));
  private readonly settings: Settings;
  private process: ChildProcess | null = null;
  private port = "0";
  url = "";

  constructor(settings: Settings = {}) {
    this.settings = settings;
  }

  static async start(settings: Settings = {}): Promise<Server> {
    const server = new Server(settings);
    await server.start();
    return server;
  }

  /** Start, or start again on the same port. */
  async start(): Promise<void> {
    const config = join(this.folder, "synap.toml");
    writeFileSync(config, this.settings.config ?? "");
    const flags = ["--port", this.port, "--data", join(this.folder, "data"), "--config", config];
    const child = spawn(PYTHON, ["-m", "synap", "serve", ...flags, ...(this.settings.flags ?? [])], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.process = child;
    const told: string[] = [];
    child.stderr?.on("data", (data) => told.push(String(data)));
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
      const ready = /ready at (http:\S+:(\d+))/.exec(line);
      if (ready !== null) {
        [, this.url = "", this.port = "0"] = ready;
        child.stdout?.resume();
        return;
      }
    }
    throw new Error(`the server did not start: ${told.join("")}`);
  }

  get isRunning(): boolean {
    return this.process !== null;
  }

  /** As `kill -9` does. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Have it do nothing, as a machine that hangs. */
  freeze(): void {
    this.process?.kill("SIGSTOP");
  }

  thaw(): void {
    this.process?.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    this.thaw();
    await this.end("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.process;
    this.process = null;
    if (child === null || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  }
}

/** Whatever a subscription brings, up to so many. */
export async function take<T>(source: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  while (taken.length < count) {
    const { done, value } = await source.next();
    if (done) break;
    taken.push(value);
  }
  return taken;
}

/** The error that a promise is rejected with. */
export async function failureOf(promise: Promise<unknown>): Promise<Error & { code?: string; maybeDone?: boolean }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected a failure");
}

/** Wait until something is so. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** What a command prints. Throws with all of it when it fails. */
export function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}
