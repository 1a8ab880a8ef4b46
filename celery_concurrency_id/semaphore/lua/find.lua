-- find: tell under which id a task waits or runs: one that was made for its call, or one of some others.
-- KEYS[1]  namespace prefix
-- ARGV[1]  task id
-- ARGV[2]  the highest number of retries to look for
-- ARGV[3..]  one argument for each id: the id
-- Returns  the id; empty: none of these

local task, highest = ARGV[1], tonumber(ARGV[2])

local noted = redis.call('GET', P .. 'where:' .. task)
if noted then
  redis.call('PEXPIRE', P .. 'where:' .. task, WHERE_MS)
  return string.match(noted, '^%d+|(.*)$') or ''
end
for i = 3, #ARGV do
  for retries = 0, highest do
    if redis.call('ZSCORE', P .. 'waiting:' .. ARGV[i], task .. ':' .. retries) then return ARGV[i] end
  end
end
for i = 3, #ARGV do
  for _, record in ipairs(redis.call('HVALS', P .. 'slots:' .. ARGV[i])) do
    local _, _, its = unpack_slot(record)
    if its == task then return ARGV[i] end
  end
end
return ''
