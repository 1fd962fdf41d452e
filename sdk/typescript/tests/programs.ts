import { execFile } from "node:child_process";
import { promisify } from "node:util";

const TIMEOUT_MS = 20_000;

/** What a program of Node prints. Throws when it fails or does not end by itself. */
export async function runProgram(path: string, env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [path], {
    env: { ...process.env, ...env },
    timeout: TIMEOUT_MS,
  });
  return stdout;
}
