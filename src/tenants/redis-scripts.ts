// The scripts that a Redis server runs for the ledger. Each runs as one step, so two servers never get the same part of a limit.
// Time is the Redis server's, in seconds: what was counted in a second is forgotten a minute after its end.

/** How long a server that no longer reports keeps its running requests and reserved tokens. */
const SILENT_SERVER_MS = 5000;

/**
 * Adds a report, and decides about what it asks for. The tenant's hash has a field for the requests (`r` and the second) and one
 * for the used tokens (`t`) of each second, and one per server (`s` and its id) with its running requests, its reserved tokens
 * and the time of its last report. Returns per question the limit that refuses (0: none), the milliseconds since the current
 * second began, the tokens that other servers reserved, and for requests and tokens a flat list of ages in seconds and amounts.
 */
export const DECIDE_SCRIPT = `
local key, server, arg = KEYS[1], ARGV[1], {}
for i = 2, #ARGV do arg[i - 1] = tonumber(ARGV[i]) end
local requests, tokens, running, reserved = arg[1], arg[2], arg[3], arg[4]
local requestLimit, tokenLimit, runningLimit = arg[5], arg[6], arg[7]
local time = redis.call('TIME')
local second, ms = tonumber(time[1]), math.floor(time[2] / 1000)
local function count(kind, amount)
  if amount > 0 then redis.call('HINCRBY', key, kind .. string.format('%d', second), string.format('%d', amount)) end
end
count('r', requests)
count('t', tokens)
local sums, lists = { r = 0, t = 0 }, { r = {}, t = {} }
local othersRunning, othersReserved = 0, 0
local all = redis.call('HGETALL', key)
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  local kind, rest = string.sub(field, 1, 1), string.sub(field, 2)
  if kind == 's' then
    local itsRunning, itsReserved, at = string.match(value, '(%d+) (%d+) (%d+)')
    if second * 1000 + ms - tonumber(at) > ${SILENT_SERVER_MS} then
      redis.call('HDEL', key, field)
    elseif rest ~= server then
      othersRunning = othersRunning + tonumber(itsRunning)
      othersReserved = othersReserved + tonumber(itsReserved)
    end
  else
    local age = second - tonumber(rest)
    if math.abs(age) > 60 then
      redis.call('HDEL', key, field)
    else
      sums[kind] = sums[kind] + tonumber(value)
      table.insert(lists[kind], age)
      table.insert(lists[kind], tonumber(value))
    end
  end
end
local refusals, granted = {}, 0
for i = 8, #arg, 2 do
  local askedRequests, askedTokens, refusal = arg[i], arg[i + 1], 0
  if askedRequests > 0 and sums.r + granted + askedRequests > requestLimit then
    refusal = 1
  elseif askedRequests > 0 and othersRunning + running + askedRequests > runningLimit then
    refusal = 2
  else
    granted = granted + askedRequests
    if askedTokens > 0 and sums.t + othersReserved + reserved + askedTokens > tokenLimit then
      refusal = 3
    else
      running = running + askedRequests
      reserved = reserved + askedTokens
    end
  end
  table.insert(refusals, refusal)
end
if granted > 0 then
  count('r', granted)
  table.insert(lists.r, 0)
  table.insert(lists.r, granted)
end
if running > 0 or reserved > 0 then
  redis.call('HSET', key, 's' .. server, string.format('%d %d %d', running, reserved, second * 1000 + ms))
else
  redis.call('HDEL', key, 's' .. server)
end
redis.call('EXPIRE', key, 122)
return { refusals, ms, othersReserved, lists.r, lists.t }
`;

/** Registers a server, forgets silent ones, and returns how many there are. */
export const JOIN_SCRIPT = `
local time = redis.call('TIME')
local now = tonumber(time[1])
redis.call('HSET', KEYS[1], ARGV[1], now)
local all = redis.call('HGETALL', KEYS[1])
local count = 0
for i = 1, #all, 2 do
  if now - tonumber(all[i + 1]) > ${SILENT_SERVER_MS / 1000} then redis.call('HDEL', KEYS[1], all[i]) else count = count + 1 end
end
redis.call('EXPIRE', KEYS[1], 60)
return count
`;
