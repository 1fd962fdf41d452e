-- Requests for wrk that are made while they are sent, so that they reach all of however many items there are.
-- Arguments: kind, different keys, requests to send (0: until the time is over), and the bodies.
--   mix: a read and a write, __key__ standing for any key; three of ten are writes.
--   same: one body, sent again and again.
--   take: a body that consumes a message, and one that acknowledges it, __id__ standing for its id.
-- The seed is fixed: every server is sent the same keys in the same order.

local ffi = require("ffi")
ffi.cdef([[
   typedef struct { long seconds, nanoseconds; } moment;
   int clock_gettime(int clock, moment *now);
]])

local WRITES_PERCENT = 30
local MONOTONIC = 1

local all_threads = {}
local make, remaining

local function now_us()
   local now = ffi.new("moment")
   ffi.C.clock_gettime(MONOTONIC, now)
   return tonumber(now.seconds) * 1e6 + tonumber(now.nanoseconds) / 1e3
end

local function post(body)
   return wrk.format("POST", "/api/v1/command", { ["Content-Type"] = "application/json" }, body)
end

-- The request before and behind a placeholder for which `width` bytes will stand.
local function around(body, placeholder, width)
   local request = post((body:gsub(placeholder, string.rep("#", width))))
   local first, last = request:find(string.rep("#", width), 1, true)
   return request:sub(1, first - 1), request:sub(last + 1)
end

local makers = {}

function makers.mix(keys, read, write)
   local read_before, read_behind = around(read, "__key__", #"key:000000000000")
   local write_before, write_behind = around(write, "__key__", #"key:000000000000")
   return function()
      local key = string.format("key:%012d", math.random(0, keys - 1))
      if math.random(100) <= WRITES_PERCENT then
         return write_before .. key .. write_behind
      end
      return read_before .. key .. read_behind
   end
end

function makers.same(_, body)
   local request = post(body)
   return function()
      return request
   end
end

function makers.take(_, consume, ack)
   local consuming, ids, next_id = post(consume), {}, 1
   function response(_, _, body)
      ids[#ids + 1] = body:match('"message_id":"([^"]+)"')
   end
   return function()
      local id = ids[next_id]
      if id == nil then
         return consuming
      end
      next_id = next_id + 1
      return post((ack:gsub("__id__", id)))
   end
end

function setup(thread)
   table.insert(all_threads, thread)
end

function init(args)
   math.randomseed(1)
   make = makers[args[1]](tonumber(args[2]), args[4], args[5])
   local limit = tonumber(args[3])
   remaining = limit > 0 and limit + 1 or math.huge -- wrk makes one more to look at it
   begun_us = now_us()
end

function request()
   remaining = remaining - 1
   if remaining == -1 then
      ended_us = now_us()
      wrk.thread:stop()
   end
   return make()
end

-- When all has been sent, wrk goes on sleeping until its time is over: that does not count.
function done(summary, latency, requests)
   local thread, errors = all_threads[1], summary.errors
   local ended = thread:get("ended_us")
   local duration_us = ended and ended - thread:get("begun_us") or summary.duration
   local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
   print(string.format("RESULT %d %.0f %d %.0f", summary.requests, duration_us, failed, latency:percentile(99)))
end
