-- learn: tell of ids that were made for calls, before the first task of each is published, or after Redis lost them.
-- KEYS[1]  namespace prefix
-- ARGV[1..]  four arguments for each: id, family, limit (0: no limit), needs (as announce has it)
-- Returns  milliseconds until the queues of all these ids may be declared: a worker may be deleting one of them

local retiring = 0
for i = 1, #ARGV, 4 do
  know(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  refresh(ARGV[i])
  retiring = math.max(retiring, field(P .. 'id:' .. ARGV[i], 'retiring'))
end
if recovery_ms() == 0 then wake() end
return math.max(math.ceil((retiring - now) / 1000), 0)
