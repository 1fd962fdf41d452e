import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runProgram } from "./programs.js";
import { PACKAGE, Server } from "./server.js";

const EXAMPLES = join(PACKAGE, "examples");
const SAYS: Record<string, RegExp[]> = {
  "cache-aside.mjs": [/three reads, 1 of the database/, /after a change, 2/],
  "chat.mjs": [/Ann heard:\n {2}Ann: Is anybody there\?\n {2}Ben: I am\.\n {2}Ann: Good\.\nBen heard:\n {2}Ann: Is/],
  "event-sourcing.mjs": [/balance 75 after replaying 3/, /balance 50 after a snapshot and 1/, /4 messages/],
  "leaderboard.mjs": [/1\. ben 170\n2\. cleo 150\n3\. ann 120/, /dan has 20 points: place 4 of 4/],
  "rate-limiter.mjs": [/5 of 8 requests allowed/],
  "task-queue.mjs": [/sent to ben at attempt 2/, /nobody, attempt 3: no such address/, /given up: nobody/],
};

let server: Server;

beforeAll(async () => {
  server = await Server.start();
});

afterAll(async () => {
  await server.stop();
});

test("every example is run here", () => {
  expect(readdirSync(EXAMPLES).sort()).toEqual(Object.keys(SAYS).sort());
});

for (const [name, expected] of Object.entries(SAYS)) {
  test(`${name} does what it says`, async () => {
    const said = await runProgram(join(EXAMPLES, name), { SYNAP_URL: server.url });
    for (const text of expected) expect(said).toMatch(text);
  });
}
