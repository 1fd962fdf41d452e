// An account as the sum of its events: replayed from the start, or from a snapshot on.
import { Synap } from "@synap/sdk";

const synap = new Synap({ url: process.env.SYNAP_URL });
const room = `account-${Date.now()}`;
const snapshotKey = `${room}:snapshot`;

function apply(balance, { event_type, data }) {
  return event_type === "deposited" ? balance + data.amount : balance - data.amount;
}

/** Events after an offset, page by page. */
async function* eventsFrom(offset) {
  for (let from_offset = offset; ; ) {
    const page = await synap.stream.history({ room, from_offset, limit: 2, create: true });
    yield* page.events;
    if (page.events.length === 0) return;
    from_offset = page.next_offset;
  }
}

async function load() {
  const { value } = await synap.kv.get({ key: snapshotKey });
  let { balance, next } = value ?? { balance: 0, next: 0 };
  let replayed = 0;
  for await (const event of eventsFrom(next)) {
    balance = apply(balance, event);
    next = event.offset + 1;
    replayed++;
  }
  return { balance, next, replayed };
}

/** The event and the message for others in one record: after a crash either both are there or none. */
async function record(event_type, data) {
  const batch = synap.batch({ atomic: true });
  batch.stream.publish({ room, event_type, data });
  batch.queue.publish({ queue: `${room}-outbox`, message: { event_type, data } });
  const results = await batch.send();
  for (const result of results) if (result.status === "error") throw result.error;
}

await record("deposited", { amount: 100 });
await record("withdrawn", { amount: 30 });
await record("deposited", { amount: 5 });
const account = await load();
console.log(`balance ${account.balance} after replaying ${account.replayed} events`);

await synap.kv.set({ key: snapshotKey, value: { balance: account.balance, next: account.next } });
await record("withdrawn", { amount: 25 });
const later = await load();
console.log(`balance ${later.balance} after a snapshot and ${later.replayed} event`);
console.log(`${(await synap.queue.stats({ queue: `${room}-outbox` })).depth} messages for others`);
await synap.close();
