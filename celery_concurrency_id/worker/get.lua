-- get: take the next messages of a queue of kombu's Redis transport and, in the same step, note them as delivered.
-- KEYS[1]   kombu's hash of messages that are not acknowledged
-- KEYS[2]   kombu's index of the same, by when they were delivered
-- KEYS[3..] the lists of the queue, one for each priority, the first one first
-- ARGV[1]   how many messages at the most
-- ARGV[2]   now, by the caller's clock, in seconds: kombu compares it with that of workers
-- Returns   for each message, in their order, itself and its delivery tag; an empty one where that cannot be
--           read here, and nothing is noted

local unacked, index, most, now = KEYS[1], KEYS[2], tonumber(ARGV[1]), ARGV[2]

-- What kombu would put back: the message, its exchange and its routing key.
local function delivery(item)
  local properties = cjson.decode(item).properties
  local tag, about = properties.delivery_tag, properties.delivery_info
  if type(tag) ~= 'string' or not about.exchange or not about.routing_key then return '' end
  return tag, '[' .. item .. ', ' .. cjson.encode(about.exchange) .. ', ' .. cjson.encode(about.routing_key) .. ']'
end

local found, left = {}, most
for i = 3, #KEYS do
  while left > 0 do
    local item = redis.call('RPOP', KEYS[i])
    if not item then break end
    left = left - 1
    local ok, tag, noted = pcall(delivery, item)
    if not ok then tag = '' end
    if tag ~= '' then
      redis.call('ZADD', index, now, tag)
      redis.call('HSET', unacked, tag, noted)
    end
    found[#found + 1] = item
    found[#found + 1] = tag
  end
end
return found
