-- release: free one slot by hand, whatever its holder believes, and tell its holder.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  token
-- Returns  {1 if it was held, its record, 1 if its holder was reached}

local id, token = ARGV[1], ARGV[2]

local record = redis.call('HGET', P .. 'slots:' .. id, token)
if not record then
  -- It may have been taken with that of a lane.
  id = string.match(redis.call('HGET', P .. 'slots:' .. id, token .. '.1') or '', '|u|%d+|(.*)$') or id
  record = redis.call('HGET', P .. 'slots:' .. id, token)
end
if not record then return {0, '', 0} end
local worker = string.match(record, '^[^|]*')
local told = redis.call('PUBLISH', P .. 'mail:' .. worker, 'released ' .. token)
release(worker, id, token)
refresh(id)
if recovery_ms() == 0 then wake() end
return {1, record, told > 0 and 1 or 0}
