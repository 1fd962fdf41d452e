import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MessageNotFoundError, RoomNotFoundError, Synap } from "../src/index.js";
import { failureOf, Server, take, until } from "./server.js";

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

async function connections(): Promise<number> {
  return (await synap.admin.stats()).connections;
}

describe("a stream", () => {
  test("is read by several at once on one client, each from where it likes", async () => {
    const events = [1, 2, 3].map((data) => ({ event_type: data % 2 ? "odd" : "even", data }));
    await synap.stream.publish_batch({ room: "shared", events });
    const all = synap.stream.subscribe<number>({ room: "shared", replay: true });
    const last = synap.stream.subscribe<number>({ room: "shared", from_offset: 2 });
    const even = synap.stream.subscribe<number>({ room: "shared", replay: true, event_types: ["even"] });
    expect((await take(all, 3)).map(({ data }) => data)).toEqual([1, 2, 3]);
    expect((await take(last, 1)).map(({ data }) => data)).toEqual([3]);
    expect((await take(even, 1)).map(({ data }) => data)).toEqual([2]);
    expect(all.nextOffsets).toEqual({ 0: 3 });
    const before = await connections();
    await Promise.all([all.close(), last.close(), even.close()]);
    await until(async () => (await connections()) < before);
    await all.close();
  });

  test("that is read slowly keeps the server waiting instead of filling memory", async () => {
    const subscription = synap.stream.subscribe<number>({ room: "flood", create: true });
    await subscription.ready;
    const events = Array.from({ length: 5000 }, (_, data) => ({ event_type: "n", data }));
    await synap.stream.publish_batch({ room: "flood", events });
    await until(async () => {
      const { rooms } = await synap.stream.rooms();
      return rooms.find(({ room }) => room === "flood")?.subscribers === 0;
    });
    expect(subscription["buffer"].length).toBe(1000);
    expect((await take(subscription, 5000)).map(({ data }) => data)).toEqual(events.map(({ data }) => data));
    await subscription.close();
  });

  test("ends when the room is deleted, and fails when there is none", async () => {
    await synap.stream.create({ room: "brief" });
    const subscription = synap.stream.subscribe({ room: "brief" });
    await subscription.ready;
    await synap.stream.delete({ room: "brief" });
    expect(await take(subscription, 1)).toEqual([]);
    const missing = synap.stream.subscribe({ room: "brief" });
    expect(await failureOf(missing.ready)).toBeInstanceOf(RoomNotFoundError);
    expect(await failureOf(missing.next())).toBeInstanceOf(RoomNotFoundError);
  });

  test("is left with the loop or with a signal", async () => {
    await synap.stream.publish({ room: "left", event_type: "a", data: 1 });
    for await (const event of synap.stream.subscribe({ room: "left", replay: true })) {
      expect(event).toMatchObject({ room: "left", event_type: "a", data: 1 });
      break;
    }
    const controller = new AbortController();
    const subscription = synap.stream.subscribe({ room: "left" }, { signal: controller.signal });
    await subscription.ready;
    const next = failureOf(subscription.next());
    controller.abort();
    expect((await next).name).toBe("AbortError");
    expect((await failureOf(synap.stream.subscribe({ room: "left" }, { signal: controller.signal }).next())).name).toBe(
      "AbortError",
    );
    await until(async () => (await synap.stream.stats({ room: "left" })).subscribers === 0);
  });

  test("cannot be subscribed to by a call, which could not be told of its events", async () => {
    const refused = await failureOf(synap.call("stream.subscribe", { room: "left" }));
    expect(refused.message).toContain("subscribe");
  });
});

describe("topics", () => {
  test("that are not read hold so many messages, and tell of the rest when they are read", async () => {
    const gaps: unknown[] = [];
    const slow = synap.pubsub.subscribe<number>({ topics: ["fast"] }, { onGap: (gap) => void gaps.push(gap) });
    await slow.ready;
    for (let round = 0; round < 12; round++) {
      const calls = Array.from({ length: 1000 }, (_, i) => synap.pubsub.publish({ topic: "fast", message: i }));
      await Promise.all(calls);
    }
    await until(() => slow["buffer"].length + slow["dropped"] === 12_000);
    const [first] = await take(slow, 1);
    expect(gaps).toEqual([{ topic: null, missed: 2000, reason: "slow" }]);
    expect(first).toMatchObject({ topic: "fast", message: 0 });
    await slow.close();
  });

  test("whose gaps nobody wants to hear of end with the listener's error", async () => {
    const subscription = synap.pubsub.subscribe(
      { topics: ["x"], epoch: "before", last_seq: 1 },
      {
        onGap: () => {
          throw new Error("a gap");
        },
      },
    );
    expect((await failureOf(subscription.next())).message).toBe("a gap");
    expect(await synap.kv.dbsize()).toHaveProperty("size");
  });

  test("of several subscriptions may overlap", async () => {
    const one = synap.pubsub.subscribe<number>({ topics: ["a.*", "b"] });
    const two = synap.pubsub.subscribe<number>({ topics: ["a.#"] });
    await Promise.all([one.ready, two.ready]);
    for (const [message, topic] of ["a.x", "b", "a.x.y"].entries()) await synap.pubsub.publish({ topic, message });
    await synap.pubsub.publish({ topic: "a.z", message: 3, metadata: { by: "me" } });
    expect((await take(one, 3)).map(({ message }) => message)).toEqual([0, 1, 3]);
    const received = await take(two, 3);
    expect(received.map(({ message }) => message)).toEqual([0, 2, 3]);
    expect(received[2]).toMatchObject({ topic: "a.z", pattern: "a.#", metadata: { by: "me" } });
    await Promise.all([one.close(), two.close()]);
  });
});

describe("a queue", () => {
  test("pushes as many messages as may be unacknowledged", async () => {
    await synap.queue.create({ queue: "q" });
    for (const message of [1, 2, 3]) await synap.queue.publish({ queue: "q", message });
    const subscription = synap.queue.subscribe<number>({ queue: "q", prefetch: 2 });
    const [first, second] = await take(subscription, 2);
    expect([first?.message, second?.message]).toEqual([1, 2]);
    expect(await synap.queue.stats({ queue: "q" })).toMatchObject({ depth: 1, in_flight: 2 });
    expect((await first?.extend(60))?.deadline).toBeGreaterThan(first?.deadline ?? Number.POSITIVE_INFINITY);
    await first?.ack();
    const [third] = await take(subscription, 1);
    expect(third?.message).toBe(3);
    expect(await second?.nack({ requeue: false })).toMatchObject({ action: "dead_lettered" });
    await third?.ack();
    expect(await failureOf((third as NonNullable<typeof third>).ack())).toBeInstanceOf(MessageNotFoundError);
    await subscription.close();
  });

  test("gets back what was not taken when the loop is left, once the rest is acknowledged", async () => {
    await synap.queue.create({ queue: "leave" });
    for (const message of [1, 2, 3]) await synap.queue.publish({ queue: "leave", message });
    for await (const message of synap.queue.subscribe({ queue: "leave", prefetch: 3 })) {
      await until(async () => (await synap.queue.stats({ queue: "leave" })).in_flight === 3);
      queueMicrotask(() => void message.ack());
      break;
    }
    await until(async () => (await synap.queue.stats({ queue: "leave" })).in_flight === 0);
    expect(await synap.queue.stats({ queue: "leave" })).toMatchObject({ depth: 2, acked_total: 1 });
  });

  test("ends its subscriptions when it is deleted", async () => {
    await synap.queue.create({ queue: "gone" });
    const subscription = synap.queue.subscribe({ queue: "gone" });
    await subscription.ready;
    await synap.queue.delete({ queue: "gone" });
    expect(await take(subscription, 1)).toEqual([]);
  });
});

describe("a worker", () => {
  test("handles some at a time, gives back what fails and acknowledges the rest", async () => {
    await synap.queue.create({ queue: "work", config: { max_retries: 1, retry: { initial_secs: 0 } } });
    const errors: unknown[] = [];
    const done: number[] = [];
    let running = 0;
    let most = 0;
    const worker = synap.queue.worker<number>(
      "work",
      async ({ message, retry_count }) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 5));
        running--;
        if (message === 3 && retry_count === 0) throw new Error("the first time");
        if (message === 4) throw new Error("always");
        done.push(message);
      },
      { concurrency: 3, onError: (error) => void errors.push((error as Error).message) },
    );
    for (let message = 0; message < 10; message++) await synap.queue.publish({ queue: "work", message });
    await until(async () => done.length === 9 && (await synap.queue.stats({ queue: "work" })).dlq_depth === 1);
    expect(done.sort()).toEqual([0, 1, 2, 3, 5, 6, 7, 8, 9]);
    expect(errors.sort()).toEqual(["always", "always", "the first time"]);
    expect(most).toBe(3);
    await worker.stop();
    expect(await synap.queue.stats({ queue: "work" })).toMatchObject({ depth: 0, in_flight: 0, consumers: 0 });
  });

  test("has left the queue once it has stopped", async () => {
    await synap.queue.create({ queue: "left" });
    for (let round = 0; round < 20; round++) {
      let begun = () => {};
      const running = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const worker = synap.queue.worker("left", async () => begun());
      if (round % 2 === 0) {
        await synap.queue.publish({ queue: "left", message: round });
        await running; // its acknowledgement is on the way while the worker stops
      } else {
        await worker.ready;
      }
      await worker.stop();
      expect(await synap.queue.stats({ queue: "left" })).toMatchObject({ depth: 0, in_flight: 0, consumers: 0 });
    }
  });

  test("extends the leases of what takes long", async () => {
    await synap.queue.create({ queue: "slow" });
    let handled = 0;
    const worker = synap.queue.worker(
      "slow",
      async (_, { signal }) => {
        handled++;
        await new Promise((resolve) => setTimeout(resolve, 1500));
        expect(signal.aborted).toBe(false);
      },
      { ackDeadlineSecs: 0.6 },
    );
    await synap.queue.publish({ queue: "slow", message: 1 });
    await until(async () => (await synap.queue.stats({ queue: "slow" })).acked_total === 1);
    expect(handled).toBe(1);
    await worker.stop();
  });

  test("finishes what it has begun when it is stopped, and returns the rest at once", async () => {
    await synap.queue.create({ queue: "drain" });
    const controller = new AbortController();
    let finish = (): void => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const worker = synap.queue.worker("drain", () => finished, { signal: controller.signal });
    for (const message of [1, 2]) await synap.queue.publish({ queue: "drain", message });
    await until(async () => (await synap.queue.stats({ queue: "drain" })).in_flight === 1);
    controller.abort();
    finish();
    await worker.done;
    await until(async () => (await synap.queue.stats({ queue: "drain" })).in_flight === 0);
    expect(await synap.queue.stats({ queue: "drain" })).toMatchObject({ depth: 1, acked_total: 1 });
  });

  test("tells its handler when a message is no longer its own", async () => {
    await synap.queue.create({ queue: "lost" });
    let reason: unknown;
    const worker = synap.queue.worker(
      "lost",
      async (message, { signal }) => {
        await message.ack();
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        reason = signal.reason;
      },
      { ackDeadlineSecs: 0.3, onError: () => {} },
    );
    await synap.queue.publish({ queue: "lost", message: 1 });
    await until(() => reason !== undefined);
    expect(reason).toBeInstanceOf(MessageNotFoundError);
    await worker.stop();
  });

  test("of a queue that is not there says so", async () => {
    const worker = synap.queue.worker("nowhere", () => {});
    expect(await failureOf(worker.done)).toMatchObject({ code: "QUEUE_NOT_FOUND" });
  });
});
