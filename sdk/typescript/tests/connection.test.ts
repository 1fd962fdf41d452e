import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Peer, WebSocketServer } from "ws";
import { ConnectionError, PayloadTooLargeError, type RoomGap, Synap, type TopicGap } from "../src/index.js";
import { failureOf, Server, take, until } from "./server.js";

describe("a server that is killed and comes back", () => {
  let server: Server;
  let synap: Synap;

  beforeAll(async () => {
    server = await Server.start();
  });

  afterAll(async () => {
    await server.stop();
  });

  beforeEach(async () => {
    if (!server.isRunning) await server.start();
    synap = new Synap({ url: server.url, timeoutMs: 20_000 });
  });

  afterEach(async () => {
    await synap.close();
  });

  test("reads are asked again, and calls made meanwhile wait for it", async () => {
    await synap.kv.set({ key: "a", value: 1 }, { ack: "synced" });
    server.freeze(); // so that what is sent now is not answered
    const asked = synap.kv.get({ key: "a" });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.kill();
    const meanwhile = synap.kv.set({ key: "b", value: 2 });
    await server.start();
    expect(await asked).toMatchObject({ value: 1 });
    expect(await meanwhile).toMatchObject({ success: true });
  });

  test("a write that was sent fails, and the error says that it may have happened", async () => {
    await synap.kv.dbsize();
    server.freeze();
    const sent = failureOf(synap.kv.incr({ key: "n" }));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.kill();
    expect(await sent).toBeInstanceOf(ConnectionError);
    expect(await sent).toMatchObject({ code: "CONNECTION_FAILED", maybeDone: true });
    expect((await sent).message).toMatch(/^kv\.incr: .*may or may not have happened$/);
  });

  test("a message is not published twice", async () => {
    await synap.kv.dbsize();
    server.freeze();
    const sent = failureOf(synap.pubsub.publish({ topic: "t", message: 1 }));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.kill();
    expect(await sent).toMatchObject({ maybeDone: true });
  });

  test("with retryWrites every pipelined write happens exactly once", async () => {
    const sure = new Synap({ url: server.url, timeoutMs: 20_000, retryWrites: true });
    let done = 0;
    const writers = Array.from({ length: 8 }, async () => {
      for (let i = 0; i < 250; i++) {
        await sure.kv.incr({ key: "exact" });
        done++;
      }
    });
    await until(() => done > 400);
    await server.kill();
    await server.start();
    await Promise.all(writers);
    expect(done).toBe(2000);
    expect(await sure.kv.get({ key: "exact" })).toMatchObject({ value: 2000 });
    await sure.close();
  });

  test("a stream goes on at the next offset: each event once and in order", async () => {
    await synap.stream.create({ room: "log", partitions: 2 });
    const publisher = new Synap({ url: server.url, timeoutMs: 20_000, retryWrites: true });
    const subscription = synap.stream.subscribe<number>({ room: "log", replay: true });
    const seen: Record<number, number[]> = { 0: [], 1: [] };
    const reading = (async () => {
      for await (const event of subscription) {
        seen[event.partition]?.push(event.offset);
        if ((seen[0]?.length ?? 0) + (seen[1]?.length ?? 0) === 3000) break;
      }
    })();
    for (let round = 0; round < 30; round++) {
      const calls = Array.from({ length: 100 }, (_, i) =>
        publisher.stream.publish({ room: "log", event_type: "n", data: i, partition: i % 2 }, { ack: "synced" }),
      );
      if (round % 10 === 5) {
        await server.kill();
        await server.start();
      }
      await Promise.all(calls);
    }
    await reading;
    const offsets = Array.from({ length: 1500 }, (_, i) => i);
    expect(seen).toEqual({ 0: offsets, 1: offsets });
    await publisher.close();
  });

  test("a subscription to a room that was not there begins at its first event", async () => {
    const subscription = synap.stream.subscribe({ room: "later", create: true });
    await subscription.ready;
    await server.kill();
    await server.start();
    const other = new Synap({ url: server.url });
    await other.stream.publish({ room: "later", event_type: "first", data: 1 });
    expect(await take(subscription, 1)).toMatchObject([{ event_type: "first", offset: 0 }]);
    await other.close();
  });

  test("topics are subscribed to again, and what was lost is told", async () => {
    const gaps: TopicGap[] = [];
    const subscription = synap.pubsub.subscribe<number>(
      { topics: ["news.#"] },
      { onGap: (gap) => void gaps.push(gap) },
    );
    await subscription.ready;
    await synap.pubsub.publish({ topic: "news.a", message: 1 });
    expect(await take(subscription, 1)).toMatchObject([{ topic: "news.a", pattern: "news.#", message: 1 }]);
    await server.kill();
    await server.start();
    await until(() => gaps.length > 0);
    expect(gaps).toEqual([{ topic: null, missed: null, reason: "restart" }]);
    await synap.pubsub.publish({ topic: "news.b.c", message: 2 });
    expect(await take(subscription, 1)).toMatchObject([{ topic: "news.b.c", message: 2 }]);
  });

  test("a queue's messages come again, and a worker works on", async () => {
    const handled: number[] = [];
    await synap.queue.create({ queue: "jobs", config: { retry: { initial_secs: 0 } } });
    const worker = synap.queue.worker<number>("jobs", ({ message }) => void handled.push(message), {
      concurrency: 4,
      onError: () => {}, // a lease that the old server had given
    });
    await worker.ready;
    await Promise.all([1, 2, 3].map((message) => synap.queue.publish({ queue: "jobs", message })));
    await until(() => handled.length >= 3);
    await server.kill();
    await server.start();
    await synap.queue.publish({ queue: "jobs", message: 4 });
    await until(() => handled.includes(4));
    await worker.stop();
  });

  test("retention that removed events meanwhile is told as a gap", async () => {
    const gaps: RoomGap[] = [];
    await synap.stream.create({ room: "short", retention: { max_events: 2 } });
    const events = Array.from({ length: 5 }, (_, i) => ({ event_type: "n", data: i }));
    await synap.stream.publish_batch({ room: "short", events });
    const subscription = synap.stream.subscribe<number>(
      { room: "short", from_offset: 0 },
      { onGap: (gap) => void gaps.push(gap) },
    );
    const [first] = await take(subscription, 1);
    expect(gaps).toMatchObject([{ room: "short", partition: 0, from: 0, missed: first?.offset }]);
  });
});

test("a server that is not there is named, with the reason", async () => {
  const server = await Server.start();
  await server.kill();
  for (const transport of ["websocket", "http"] as const) {
    const synap = new Synap({ url: server.url, timeoutMs: 300, transport });
    const failure = await failureOf(synap.kv.get({ key: "a" }));
    expect(failure).toBeInstanceOf(ConnectionError);
    expect(failure).toMatchObject({ maybeDone: false });
    expect(failure.message).toContain(server.url);
    expect(failure.message).toMatch(/ECONNREFUSED/);
    await synap.close();
  }
  const lost = new Synap({ url: server.url, timeoutMs: 300 });
  const subscription = lost.stream.subscribe({ room: "r" });
  expect((await failureOf(subscription.ready)).message).toMatch(/^stream:r: .*ECONNREFUSED.*tried for 300 ms/);
  expect(await failureOf(subscription.next())).toBeInstanceOf(ConnectionError);
  await lost.close();
  await server.stop();
});

test("a frame that is too large is refused, and the calls beside it are not lost", async () => {
  const server = await Server.start({ config: "[limits]\nmax_body_bytes = 100000\n" });
  const synap = new Synap({ url: server.url });
  const waiting = synap.list.blpop({ keys: ["l"], timeout: 10 }, { idempotencyKey: "blpop-1" });
  const large = await failureOf(synap.kv.set({ key: "large", value: "x".repeat(100_001) }));
  expect(large).toBeInstanceOf(PayloadTooLargeError);
  await synap.list.rpush({ key: "l", value: 1 });
  expect(await waiting).toEqual({ key: "l", value: 1 });
  await synap.close();
  await server.stop();
});

test("closing fails what waits and ends subscriptions", async () => {
  const server = await Server.start();
  const synap = new Synap({ url: server.url });
  const subscription = synap.stream.subscribe({ room: "r", create: true });
  await subscription.ready;
  const waiting = failureOf(synap.list.blpop({ keys: ["l"], timeout: 0 }));
  await synap.kv.dbsize();
  await synap.close();
  expect(await waiting).toMatchObject({ code: "CONNECTION_FAILED" });
  expect(await subscription.next()).toEqual({ done: true, value: undefined });
  expect(await failureOf(synap.kv.dbsize())).toMatchObject({ code: "CONNECTION_FAILED", maybeDone: false });
  await server.stop();
});

describe("what goes over the wire", () => {
  interface Request {
    type?: string;
    command?: string;
    commands?: { command: string; idempotency_key?: string }[];
    ack?: string;
    request_id: string;
  }
  let fake: InstanceType<typeof WebSocketServer>;
  let url: string;
  let requests: Request[];
  let answer: (socket: Peer, request: Request) => void;

  beforeEach(async () => {
    requests = [];
    answer = (socket, request) => {
      const { request_id, commands } = request;
      const results = commands?.map(({ command }) => ({ status: "success", payload: { command } }));
      const reply = results ? { type: "batch_response", results } : { type: "response", payload: request };
      socket.send(JSON.stringify({ ...reply, request_id }));
    };
    fake = new WebSocketServer({ port: 0 });
    fake.on("connection", (socket) => {
      socket.on("message", (data) => {
        const request = JSON.parse(String(data)) as Request;
        requests.push(request);
        answer(socket, request);
      });
    });
    await once(fake, "listening");
    url = `http://127.0.0.1:${(fake.address() as AddressInfo).port}`;
  });

  afterEach(() => {
    for (const socket of fake.clients) socket.terminate();
    fake.close();
  });

  test("calls of one moment are one batch; those that may not stand in one go alone", async () => {
    const synap = new Synap({ url });
    const results = await Promise.all([
      synap.call("kv.get", { key: "a" }),
      synap.kv.set({ key: "a", value: 1 }, { idempotencyKey: "k" }),
      synap.list.blpop({ keys: ["l"], timeout: 1 }),
      synap.auth.create_user({ username: "u", password: "p" }),
      synap.kv.get({ key: "b" }),
      synap.kv.set({ key: "c", value: 1 }, { ack: "synced" }),
      synap.kv.set({ key: "d", value: 1 }, { ack: "synced" }),
    ]);
    expect(requests.map((r) => r.commands?.map(({ command }) => command) ?? r.command)).toEqual([
      ["kv.get", "kv.set"],
      "list.blpop",
      "auth.create_user",
      "kv.get",
      ["kv.set", "kv.set"],
    ]);
    expect(requests[0]?.commands?.[1]?.idempotency_key).toBe("k");
    expect(requests.map(({ ack }) => ack)).toEqual([undefined, undefined, undefined, undefined, "synced"]);
    expect(results[0]).toEqual({ command: "kv.get" });
    await synap.close();
  });

  test("many calls are split into several batches", async () => {
    const synap = new Synap({ url });
    await Promise.all(Array.from({ length: 2500 }, (_, i) => synap.kv.get({ key: `${i}` })));
    expect(requests.map(({ commands }) => commands?.length)).toEqual([1000, 1000, 500]);
    await synap.close();
  });

  test("a connection that says nothing any more is given up for a new one", async () => {
    const synap = new Synap({ url, heartbeatMs: 100 });
    await synap.kv.get({ key: "a" });
    answer = () => {};
    const asked = synap.kv.get({ key: "b" });
    const connected = once(fake, "connection");
    await connected;
    answer = (socket, { request_id }) => socket.send(JSON.stringify({ type: "response", request_id, payload: "new" }));
    // Whether it was sent again before or after the line above: one of the attempts is answered.
    expect(await asked).toBe("new");
    await synap.close();
  });
});
