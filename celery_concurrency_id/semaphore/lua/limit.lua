-- limit: set an operator's limit for an id, which stands over the code's, or go back to the code's.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  the limit (0: none); empty: go back to the code's
-- ARGV[3]  milliseconds that it lasts; 0: until it is changed
-- ARGV[4]  who
-- ARGV[5]  a note
-- Returns  1 if there was an operator's limit before, else 0

local id, limit, lasts_us, by, note = ARGV[1], ARGV[2], tonumber(ARGV[3]) * 1000, ARGV[4], ARGV[5]
local key = P .. 'id:' .. id

lapse()
local before = redis.call('HGET', key, 'override') and 1 or 0
end_override(id)
if limit ~= '' then
  redis.call('HSET', key, 'override', limit, 'override_by', by, 'override_note', note, 'override_at', int(now))
  if lasts_us > 0 then redis.call('HSET', key, 'override_until', int(now + lasts_us)) end
end
note_control(id)
revise(id)
if recovery_ms() == 0 then wake() end
return before
