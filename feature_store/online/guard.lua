#!lua name=feature_store_online

-- The guard of the online store: an older row never replaces a newer one, whoever writes last.
-- The feature timestamp is 8 bytes at offset 4 of every value (see codec.py). It is compared as two numbers, since
-- Lua orders strings by the server's locale.

local HEADER = 12

local function is_newer(a, b)
  local a_high, a_low = struct.unpack('>I4I4', a)
  local b_high, b_low = struct.unpack('>I4I4', b)
  return a_high > b_high or (a_high == b_high and a_low > b_low)
end

-- Milliseconds since the epoch at which a row may be deleted. Exact up to the year 2255; later than that, to the
-- millisecond.
local function deletion(timestamp, keep)
  local high, low = struct.unpack('>I4I4', timestamp)
  local micros = (high - 2147483648) * 4294967296 + low
  return string.format('%.0f', math.max(1, math.ceil(micros / 1000) + keep))
end

-- KEYS: one per row. ARGV: how long a row is kept after its timestamp (milliseconds, '' for ever), then per row its
-- value; with `retracting`, then per row the newest timestamp that may be replaced, and an empty value deletes.
-- Returns how many were written, were older than what is there, had expired, were deleted.
local function put(keys, args, retracting)
  local keep = tonumber(args[1])
  local deletions = {}
  local written, stale, expired, deleted = 0, 0, 0, 0
  for i, key in ipairs(keys) do
    local value = args[1 + i]
    local limit = retracting and args[1 + #keys + i] or string.sub(value, 5, HEADER)
    local current = redis.call('GETRANGE', key, 4, HEADER - 1)
    if #current == 8 and current ~= limit and is_newer(current, limit) then
      stale = stale + 1
    elseif value == '' then
      redis.call('DEL', key)
      deleted = deleted + 1
    else
      if keep then
        local timestamp = string.sub(value, 5, HEADER)
        local at = deletions[timestamp]
        if not at then
          at = deletion(timestamp, keep)
          deletions[timestamp] = at
        end
        redis.call('SET', key, value, 'PXAT', at)
      else
        redis.call('SET', key, value)
      end
      if #value > HEADER then written = written + 1 else expired = expired + 1 end
    end
  end
  return {written, stale, expired, deleted}
end

redis.register_function('feature_store_write_VERSION', function(keys, args)
  return put(keys, args, false)
end)

redis.register_function('feature_store_retract_VERSION', function(keys, args)
  return put(keys, args, true)
end)

-- KEYS: the group's last_updated. ARGV: wall time and newest feature timestamp (microseconds, '' for none). Neither
-- moves backwards. The texts are stored as given: a number would lose digits on its way to text.
redis.register_function('feature_store_touch_VERSION', function(keys, args)
  local wall, newest = string.match(redis.call('GET', keys[1]) or '', '^(%-?%d*) (%-?%d*)$')
  local function later(a, b)
    return (tonumber(a) or -math.huge) > (tonumber(b) or -math.huge) and a or b
  end
  redis.call('SET', keys[1], later(wall, args[1]) .. ' ' .. later(newest, args[2]))
end)
