// A leaderboard: scores as they come, the best of all, and where somebody stands.
import { Synap } from "@synap/sdk";

const synap = new Synap({ url: process.env.SYNAP_URL });
const key = `scores-${Date.now()}`;

// Calls made together travel together.
await Promise.all(
  [
    ["ann", 120],
    ["ben", 80],
    ["cleo", 150],
    ["ben", 90],
    ["dan", 20],
  ].map(([member, increment]) => synap.sortedset.zincrby({ key, member, increment })),
);

const { members } = await synap.sortedset.zrevrange({ key, start: 0, stop: 2 });
for (const [place, { member, score }] of members.entries()) console.log(`${place + 1}. ${member} ${score}`);

const { rank, score } = await synap.sortedset.zrevrank({ key, member: "dan" });
const { count } = await synap.sortedset.zcard({ key });
console.log(`dan has ${score} points: place ${rank + 1} of ${count}`);
await synap.close();
