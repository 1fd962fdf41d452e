-- Requests for wrk, all made in `init` so that sending one costs a table lookup.
-- Arguments: kind (command, batch, url or template), requests in the pool, different keys or numbers, commands in a
-- batch, percent of writes, and the template: a request with __rand_int__ where a random number of twelve digits goes,
-- and __number__ where one goes as JSON has it.
-- Headers that wrk is given go with every request but those of webdis.
-- The seed is fixed: every server is sent the same keys in the same order.

local VALUE = "abc"

local pool, pool_size, position = {}, 0, 0
local all_threads = {}

local function entry(key, is_write)
   if is_write then
      return string.format('{"command":"kv.set","payload":{"key":"%s","value":"%s"}}', key, VALUE)
   end
   return string.format('{"command":"kv.get","payload":{"key":"%s"}}', key)
end

local function url(key, is_write)
   return is_write and "/SET/" .. key .. "/" .. VALUE or "/GET/" .. key
end

local function post(body)
   local headers = { ["Content-Type"] = "application/json" }
   for name, value in pairs(wrk.headers) do
      headers[name] = value
   end
   return wrk.format("POST", "/api/v1/command", headers, body)
end

function setup(thread)
   table.insert(all_threads, thread)
end

function init(args)
   local kind, keys, batch, writes = args[1], tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
   pool_size = tonumber(args[2])
   math.randomseed(1)
   local function pick(make)
      return make(string.format("key:%012d", math.random(0, keys - 1)), math.random(100) <= writes)
   end
   for i = 1, pool_size do
      if kind == "url" then
         pool[i] = wrk.format("GET", pick(url))
      elseif kind == "command" then
         pool[i] = post(pick(entry))
      elseif kind == "template" then
         pool[i] = post((args[6]:gsub("__rand_int__", function()
            return string.format("%012d", math.random(0, keys - 1))
         end):gsub("__number__", function()
            return string.format("%d", math.random(0, keys - 1))
         end)))
      else
         local entries = {}
         for j = 1, batch do
            entries[j] = pick(entry)
         end
         pool[i] = post('{"type":"batch","commands":[' .. table.concat(entries, ",") .. "]}")
      end
   end
   prepared_cpu_secs = os.clock()
end

function request()
   position = position % pool_size + 1
   return pool[position]
end

function done(summary, latency, requests)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
   local cpu_secs = os.clock() - all_threads[1]:get("prepared_cpu_secs")
   print(string.format("RESULT %d %d %d %.0f %d %d %d", summary.requests, summary.duration, failed, cpu_secs * 1e6,
      latency:percentile(50), latency:percentile(99), latency.max))
end
