-- pause: grant no slot of an id until it is resumed, or resume it.
-- KEYS[1]  namespace prefix
-- ARGV[1]  concurrency id
-- ARGV[2]  1: pause it, 0: resume it
-- ARGV[3]  who
-- ARGV[4]  a note
-- Returns  1 if it was paused before, else 0

local id, pause, by, note = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
local key = P .. 'id:' .. id

lapse()
local before = redis.call('HGET', key, 'paused') and 1 or 0
if pause then
  redis.call('HSET', key, 'paused', 1, 'paused_by', by, 'paused_note', note, 'paused_at', int(now))
else
  redis.call('HDEL', key, 'paused', 'paused_by', 'paused_note', 'paused_at')
end
note_control(id)
revise(id)
if recovery_ms() == 0 then wake() end
return before
