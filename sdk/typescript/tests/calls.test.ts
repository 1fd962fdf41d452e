import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorFrom } from "../src/errors.js";
import { ATTACHES, flagsOf } from "../src/flags.js";
import { COMMANDS } from "../src/generated/commands.js";
import {
  ERRORS,
  ForbiddenError,
  InvalidPayloadError,
  KeyNotFoundError,
  NotANumberError,
  OtherError,
  Synap,
  SynapError,
  WrongTypeError,
} from "../src/index.js";
import { failureOf, Server } from "./server.js";

let server: Server;
let synap: Synap;

beforeAll(async () => {
  server = await Server.start();
  synap = new Synap({ url: server.url });
});

afterAll(async () => {
  await synap.close();
  await server.stop();
});

describe("the methods", () => {
  test("are the commands that the server lists", async () => {
    const { commands } = await synap.admin.commands();
    const names = commands.map((command) => command["name"] as string);
    expect(Object.keys(COMMANDS).sort()).toEqual([...names].sort());
    for (const name of names) {
      const [namespace, operation] = name.split(".") as [keyof Synap, string];
      const methods = synap[namespace] as unknown as Record<string, unknown>;
      const isThere = (flagsOf(name) & ATTACHES) === 0 || operation === "subscribe";
      expect(typeof methods[operation], name).toBe(isThere ? "function" : "undefined");
    }
  });

  test("take payloads and return results as the commands do", async () => {
    expect(await synap.kv.set({ key: "user", value: { name: "Ann" }, ttl: 60 })).toMatchObject({ success: true });
    const user = await synap.kv.get<{ name: string }>({ key: "user" });
    expect(user.value?.name).toBe("Ann");
    expect(user.ttl).toBeGreaterThan(0);
    await synap.sortedset.zadd({ key: "board", members: [{ member: "ann", score: 3 }] });
    expect(await synap.sortedset.zrange({ key: "board" })).toEqual({ members: [{ member: "ann", score: 3 }] });
    expect(await synap.hash.mset({ key: "h", fields: { a: 1, b: [2] } })).toMatchObject({ created: 2 });
    expect((await synap.hash.getall({ key: "h" })).fields).toEqual({ a: 1, b: [2] });
    expect(await synap.kv.dbsize()).toHaveProperty("size");
  });

  test("may be called by name, also by names that this kit does not know", async () => {
    expect(await synap.call("kv.exists", { keys: ["user"] })).toMatchObject({ count: 1 });
    const error = await failureOf(synap.call("kv.gett", { key: "user" }));
    expect(error).toMatchObject({ code: "UNKNOWN_COMMAND", details: { suggestion: "kv.get" } });
  });

  test("that wait come back with what another client sends, after calls made later", async () => {
    const other = new Synap({ url: server.url });
    const order: string[] = [];
    const popped = synap.list.blpop({ keys: ["jobs"], timeout: 10 }).then((result) => {
      order.push("blpop");
      return result;
    });
    await synap.kv.get({ key: "user" });
    order.push("get");
    await other.list.rpush({ key: "jobs", value: { id: 7 } });
    expect(await popped).toEqual({ key: "jobs", value: { id: 7 } });
    expect(order).toEqual(["get", "blpop"]);
    await other.close();
  });

  test("over plain HTTP answer the same", async () => {
    const http = new Synap({ url: `${server.url}/`, transport: "http" });
    await http.kv.set({ key: "by-http", value: 1 });
    const answers = await Promise.all([http.kv.incr({ key: "by-http" }), http.kv.get({ key: "by-http" })]);
    expect(answers).toEqual([{ value: 2 }, { found: true, value: 2, ttl: null }]);
    expect(await failureOf(http.kv.incr({ key: "user" }))).toBeInstanceOf(NotANumberError);
    expect(() => http.stream.subscribe({ room: "r" })).toThrow(/transport: "websocket"/);
    await http.close();
  });
});

describe("errors", () => {
  test("are classes by code, with the server's message and details", async () => {
    const missing = await failureOf(synap.key.rename({ source: "nowhere", destination: "there" }));
    expect(missing).toBeInstanceOf(KeyNotFoundError);
    expect(missing).toBeInstanceOf(SynapError);
    expect(missing).toMatchObject({ code: "KEY_NOT_FOUND", name: "KeyNotFoundError" });
    const wrong = await failureOf(synap.list.lpush({ key: "user", value: 1 }));
    expect(wrong).toBeInstanceOf(WrongTypeError);
    const invalid = await failureOf(synap.call("kv.set", { key: "k", value: 1, tll: 5 }));
    expect(invalid).toBeInstanceOf(InvalidPayloadError);
    expect(invalid).toMatchObject({ details: { path: "payload.tll", suggestion: "ttl" } });
  });

  test("of one call leave the others of its moment alone", async () => {
    const calls = [synap.kv.set({ key: "a", value: "x" }), synap.kv.incr({ key: "a" }), synap.kv.get({ key: "a" })];
    const [set, incr, get] = await Promise.allSettled(calls);
    expect(set).toMatchObject({ status: "fulfilled" });
    expect(incr).toMatchObject({ status: "rejected", reason: { code: "NOT_A_NUMBER" } });
    expect(get).toMatchObject({ status: "fulfilled", value: { value: "x" } });
  });

  test("of every code have a class of their own, and unknown codes are told", () => {
    for (const [code, of] of Object.entries(ERRORS)) {
      const error = errorFrom({ code, message: "no", details: { a: 1 } });
      expect(error).toBeInstanceOf(of);
      expect(error).toMatchObject({ code, message: "no", details: { a: 1 } });
    }
    expect(errorFrom({ code: "FORBIDDEN", message: "no" })).toBeInstanceOf(ForbiddenError);
    expect(errorFrom({ code: "NEWER", message: "no" })).toMatchObject({ code: "NEWER", constructor: OtherError });
    expect(errorFrom({ code: "toString", message: "no" })).toMatchObject({ code: "toString" });
  });
});

describe("options of a call", () => {
  test("an idempotency key has a write happen once", async () => {
    const again = () => synap.kv.incr({ key: "once" }, { idempotencyKey: "incr-1" });
    expect([await again(), await again(), ...(await Promise.all([again(), again()]))]).toEqual(
      Array.from({ length: 4 }, () => ({ value: 1 })),
    );
    const conflict = await failureOf(synap.kv.incr({ key: "once", amount: 2 }, { idempotencyKey: "incr-1" }));
    expect(conflict.code).toBe("IDEMPOTENCY_CONFLICT");
  });

  test("an acknowledgement is asked for and told", async () => {
    const told: { ack: string; lsn: number }[] = [];
    const onReached = (reached: { ack: string; lsn: number }) => void told.push(reached);
    await Promise.all([
      synap.kv.set({ key: "s", value: 1 }, { ack: "synced", onReached }),
      synap.kv.set({ key: "w", value: 1 }, { ack: "written", onReached }),
    ]);
    expect(told.map(({ ack }) => ack)).toEqual(["synced", "written"]);
    expect(told[1]?.lsn).toBeGreaterThan(told[0]?.lsn ?? 0);
    const strict = new Synap({ url: server.url, ack: "synced" });
    await strict.kv.set({ key: "s", value: 2 }, { onReached });
    expect(told[2]?.ack).toBe("synced");
    await strict.close();
  });

  test("what a callback throws is its own call's failure", async () => {
    const thrown = new Error("mine");
    const onReached = () => {
      throw thrown;
    };
    const [one, two] = await Promise.allSettled([
      synap.kv.set({ key: "s", value: 1 }, { onReached }),
      synap.kv.set({ key: "s", value: 2 }),
    ]);
    expect(one).toEqual({ status: "rejected", reason: thrown });
    expect(two.status).toBe("fulfilled");
  });

  test("a signal gives a call up, before it is sent and while it waits", async () => {
    const reason = new Error("enough");
    expect(await failureOf(synap.kv.set({ key: "never", value: 1 }, { signal: AbortSignal.abort(reason) }))).toBe(
      reason,
    );
    const controller = new AbortController();
    const waiting = synap.list.blpop({ keys: ["nothing"], timeout: 10 }, { signal: controller.signal });
    await synap.kv.get({ key: "a" });
    controller.abort(reason);
    expect(await failureOf(waiting)).toBe(reason);
    expect(await synap.kv.exists({ key: "never" })).toMatchObject({ exists: false });
  });

  test("a call given up in the moment it was made is not sent", async () => {
    const controller = new AbortController();
    const set = synap.kv.set({ key: "never", value: 1 }, { signal: controller.signal });
    controller.abort();
    expect((await failureOf(set)).name).toBe("AbortError");
    expect(await synap.kv.exists({ key: "never" })).toMatchObject({ exists: false });
  });

  test("nobody answers in time: the error says whether it may have happened", async () => {
    server.freeze();
    const [read, write] = await Promise.all([
      failureOf(synap.kv.get({ key: "a" }, { timeoutMs: 200 })),
      failureOf(synap.kv.set({ key: "late", value: 1 }, { timeoutMs: 200 })),
    ]);
    server.thaw();
    expect(read).toMatchObject({ code: "TIMEOUT" });
    expect(write).toMatchObject({ code: "TIMEOUT", maybeDone: true });
    expect(write.message).toBe("kv.set: no answer within 200 ms; the call may or may not have happened");
  });
});

describe("integers past 2^53", () => {
  test("are written as they are and come back as bigints where asked for", async () => {
    const exact = new Synap({ url: server.url, bigints: true });
    const value = { big: 2n ** 62n, small: 7n, text: '"9223372036854775807" \\', list: [-(2n ** 63n), 1.5] };
    await exact.kv.set({ key: "big", value });
    const { value: read } = await exact.kv.get<typeof value>({ key: "big" });
    expect(read).toEqual({ ...value, small: 7 });
    await exact.kv.set({ key: "counter", value: 2n ** 53n });
    expect(await exact.kv.incr({ key: "counter", amount: 1n })).toEqual({ value: 2n ** 53n + 1n });
    expect(await synap.kv.get({ key: "counter" })).toMatchObject({ value: 2 ** 53 });
    await exact.close();
  });
});

describe("a batch", () => {
  test("runs its commands in order and gives each its result", async () => {
    const batch = synap.batch({ atomic: true });
    const set = batch.kv.set({ key: "b", value: 1 });
    const incr = batch.kv.incr({ key: "b", amount: 4 });
    const wrong = batch.list.lpush({ key: "b", value: 1 });
    batch.call("queue.publish", { queue: "outbox", message: "b changed" });
    expect(batch.length).toBe(4);
    const results = await batch.send({ idempotencyKey: "batch-1" });
    expect(results.map(({ status }) => status)).toEqual(["success", "success", "error", "success"]);
    expect((await set).success).toBe(true);
    expect((await incr).value).toBe(5);
    expect(await failureOf(wrong)).toBeInstanceOf(WrongTypeError);
    expect(() => batch.kv.get({ key: "b" })).toThrow(/sent already/);
    expect(await synap.queue.peek({ queue: "outbox" })).toMatchObject({ messages: [{ message: "b changed" }] });
  });

  test("that is refused as a whole fails all of its promises", async () => {
    const batch = synap.batch();
    const get = batch.kv.get({ key: "b" });
    const refused = await failureOf(batch.send({ ack: "nonsense" as "written" }));
    expect(refused).toMatchObject({ code: "INVALID_REQUEST" });
    expect(await failureOf(get)).toBe(refused);
  });
});
