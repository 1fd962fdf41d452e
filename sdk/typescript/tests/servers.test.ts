import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ForbiddenError, RateLimitExceededError, ReadOnlyError, Synap, UnauthorizedError } from "../src/index.js";
import { failureOf, Server, take, until } from "./server.js";

const GUARDED = `[auth]
enabled = true
jwt_secret = "${"s".repeat(32)}"
root_password = "correct horse"
`;
const TOKEN_TTL_SECS = 2;

describe("a guarded server", () => {
  let server: Server;
  let root: Synap;
  let key: string;

  beforeAll(async () => {
    server = await Server.start({ config: GUARDED });
    root = new Synap({ url: server.url, username: "root", password: "correct horse" });
    await root.auth.create_role({ role: "shop", permissions: ["kv.*:shop:*", "stream.*:shop"] });
    key = (await root.auth.create_key({ name: "shop", roles: ["shop"] })).key;
  });

  afterAll(async () => {
    await root.close();
    await server.stop();
  });

  for (const transport of ["websocket", "http"] as const) {
    test(`takes an API key over ${transport}, and refuses what it does not allow`, async () => {
      const shop = new Synap({ url: server.url, apiKey: key, transport });
      expect(await shop.kv.set({ key: "shop:1", value: "open" })).toMatchObject({ success: true });
      const refused = await failureOf(shop.kv.set({ key: "other", value: 1 }));
      expect(refused).toBeInstanceOf(ForbiddenError);
      expect(refused).toMatchObject({ details: { permission: "kv.set:other" } });
      await shop.close();
    });

    test(`tells over ${transport} that a credential is wrong or missing, and does not try for long`, async () => {
      for (const secrets of [{}, { apiKey: "synap_wrong" }, { username: "root", password: "wrong" }]) {
        const stranger = new Synap({ url: server.url, transport, ...secrets });
        expect(await failureOf(stranger.kv.get({ key: "shop:1" }))).toBeInstanceOf(UnauthorizedError);
        await stranger.close();
      }
    });
  }

  test("takes tokens, given once or whenever one is needed", async () => {
    const { token } = await root.auth.login({ username: "root", password: "correct horse" });
    const given = new Synap({ url: server.url, token });
    expect(await given.auth.me()).toMatchObject({ name: "root" });
    const fetched = new Synap({ url: server.url, token: async () => token });
    expect(await fetched.auth.me()).toMatchObject({ name: "root" });
    await Promise.all([given.close(), fetched.close()]);
  });
});

describe("a server whose tokens are short-lived", () => {
  let server: Server;

  beforeAll(async () => {
    server = await Server.start({ config: `${GUARDED}token_ttl_secs = ${TOKEN_TTL_SECS}\n` });
  });

  afterAll(async () => {
    await server.stop();
  });

  for (const transport of ["websocket", "http"] as const) {
    test(`logs in again over ${transport} when the token has expired`, async () => {
      const user = new Synap({ url: server.url, username: "root", password: "correct horse", transport });
      expect(await user.auth.me()).toMatchObject({ name: "root" });
      await new Promise((resolve) => setTimeout(resolve, TOKEN_TTL_SECS * 1_100));
      expect(await user.auth.me()).toMatchObject({ name: "root" });
      await user.close();
    });
  }

  test("goes on with a subscription whose token has expired", async () => {
    const user = new Synap({ url: server.url, username: "root", password: "correct horse" });
    const subscription = user.stream.subscribe({ room: "shop", create: true });
    await subscription.ready;
    await new Promise((resolve) => setTimeout(resolve, TOKEN_TTL_SECS * 1_100));
    const shop = new Synap({ url: server.url, username: "root", password: "correct horse" });
    await shop.stream.publish({ room: "shop", event_type: "sold", data: 1 });
    expect(await take(subscription, 1)).toMatchObject([{ event_type: "sold" }]);
    await Promise.all([user.close(), shop.close()]);
  });
});

test("a rate limit is waited for, unless it takes longer than the call may", async () => {
  const limits = '[rate_limit]\nenabled = true\nrequests_per_second = 2\nburst = 2\nper = "address"\n';
  const server = await Server.start({ config: limits });
  const synap = new Synap({ url: server.url });
  for (let value = 0; value < 4; value++) await synap.kv.set({ key: "k", value });
  let refused: Error | undefined;
  // The server says to wait for a second.
  for (let i = 0; i < 10 && !refused; i++) {
    await synap.kv.get({ key: "k" }, { timeoutMs: 500 }).catch((error) => {
      refused = error;
    });
  }
  expect(refused).toBeInstanceOf(RateLimitExceededError);
  await synap.close();
  await server.stop();
});

describe("a master and a replica", () => {
  let master: Server;
  let replica: Server;

  beforeAll(async () => {
    const config = `[replication]\nsecret = "${"r".repeat(32)}"\n`;
    master = await Server.start({ config });
    replica = await Server.start({ config, flags: ["--replica-of", master.url] });
  });

  afterAll(async () => {
    await Promise.all([master.stop(), replica.stop()]);
  });

  for (const transport of ["websocket", "http"] as const) {
    test(`a write over ${transport} goes to the master, whichever was named`, async () => {
      const synap = new Synap({ url: replica.url, transport });
      expect(await synap.kv.set({ key: "a", value: 1 }, { ack: "replicated" })).toMatchObject({ success: true });
      expect((await synap.replication.status()).role).toBe("master");
      const stubborn = new Synap({ url: replica.url, transport, retry: false });
      expect(await failureOf(stubborn.kv.set({ key: "a", value: 1 }))).toBeInstanceOf(ReadOnlyError);
      await Promise.all([synap.close(), stubborn.close()]);
    });
  }

  test("what only looks is asked of the replica where wanted, and of the master when there is no replica", async () => {
    const own = await Server.start();
    const other = new Synap({ url: own.url });
    await other.kv.set({ key: "who", value: "replica" });
    const synap = new Synap({ url: master.url, replicas: [own.url], readFrom: "replica" });
    await synap.kv.set({ key: "who", value: "master" });
    expect(await synap.kv.get({ key: "who" })).toMatchObject({ value: "replica" });
    await own.kill();
    expect(await synap.kv.get({ key: "who" })).toMatchObject({ value: "master" });
    await Promise.all([synap.close(), other.close(), own.stop()]);
  });

  test("after a failover writes and subscriptions go on at the new master", async () => {
    const synap = new Synap({ url: master.url, replicas: [replica.url], timeoutMs: 20_000 });
    const subscription = synap.stream.subscribe<number>({ room: "room", create: true });
    await subscription.ready;
    await synap.stream.publish({ room: "room", event_type: "n", data: 1 }, { ack: "replicated" });
    await master.kill();
    const promoting = new Synap({ url: replica.url });
    const written = synap.stream.publish({ room: "room", event_type: "n", data: 2 });
    await promoting.replication.promote({ force: true });
    expect(await written).toMatchObject({ offset: 1 });
    expect((await take(subscription, 2)).map(({ data }) => data)).toEqual([1, 2]);
    await until(async () => (await promoting.stream.stats({ room: "room" })).subscribers === 1);
    await Promise.all([synap.close(), promoting.close()]);
  });
});
