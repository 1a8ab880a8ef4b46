-- leave: end the caller's own lease; its slots are free at once.
-- KEYS[1]  namespace prefix
-- ARGV[1]  worker
-- Returns  number of slots it still held

local worker = ARGV[1]

local held = expire(worker)
wake()
return held
