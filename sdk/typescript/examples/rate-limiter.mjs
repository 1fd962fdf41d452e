// So many requests in a window of time, counted where all processes can see it.
import { Synap } from "@synap/sdk";

const synap = new Synap({ url: process.env.SYNAP_URL });

/** Whether one more is allowed: a counter for each window that is gone with it. */
async function isAllowed(who, limit, windowSecs) {
  const window = Math.floor(Date.now() / 1000 / windowSecs);
  const key = `requests:${who}:${window}`;
  const batch = synap.batch({ atomic: true });
  batch.kv.set({ key, value: 0, nx: true, ttl: windowSecs });
  const counted = batch.kv.incr({ key });
  await batch.send();
  return (await counted).value <= limit;
}

const who = `ann-${Date.now()}`;
const answers = await Promise.all(Array.from({ length: 8 }, () => isAllowed(who, 5, 3600)));
console.log(`${answers.filter(Boolean).length} of ${answers.length} requests allowed`);
await synap.close();
