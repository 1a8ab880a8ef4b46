-- retake: a task wants its slot again that it gave back for a while; wait for it in the line of its id.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- ARGV[2]  server run the caller is connected to
-- ARGV[3]  concurrency id
-- ARGV[4]  token
-- ARGV[5]  1: wait where it cannot have it at once; 0: do not
-- Returns  {state, fence}
--          state  1 it holds its slot | 0 it does not, and waits if it may | -1 it has none: its worker says so |
--                 -2 nobody knows, since its worker has yet to say what it holds
--          fence  a number that no grant before this one had, where it holds its slot

local worker, run, id, token, may_wait = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local away, back = P .. 'away:' .. id, P .. 'back:' .. id

if redis.call('HGET', P .. 'meta', 'run') ~= run then return {-2, ''} end
local record, key = find(id, token)
if not record or slot_worker(record) ~= worker then
  return {redis.call('ZSCORE', P .. 'workers', worker) and -1 or -2, ''}
end
if key == away then
  lapse()
  local comes = redis.call('ZADD', back, 'NX', int(now), token) == 1
  refresh(id)
  if redis.call('HEXISTS', away, token) == 1 then
    if not may_wait then
      redis.call('ZREM', back, token)
    elseif comes then
      recall(id)
    end
    if recovery_ms() == 0 then wake() end
    return {0, ''}
  end
end
redis.call('DEL', P .. 'came:' .. token)
local fence = int(math.max(field(P .. 'meta', 'fence') + 1, now))
redis.call('HSET', P .. 'meta', 'fence', fence)
return {1, fence}
