#!lua name=feature_store_online

-- The guard of the online store. Rows of an entity are ordered by (feature_timestamp, created_timestamp): an older row
-- never replaces a newer one, whoever writes last, and a row that was taken back does not come back.
--
-- codec.py says how values look. An instant is 8 bytes, a row's order is 16: both timestamps. They are compared as
-- numbers, since Lua orders strings by the server's locale.

local HEADER = 20
local FIRST_HEADER = 12
local TOMBSTONE = 24
local MOST_TOMBSTONES = 16
local OLDEST = '\0\0\0\0\0\0\0\0'
local NO_ROW = OLDEST .. OLDEST

local function is_later(a, b)
  local a_high, a_low = struct.unpack('>I4I4', a)
  local b_high, b_low = struct.unpack('>I4I4', b)
  return a_high > b_high or (a_high == b_high and a_low > b_low)
end

local function latest(a, b)
  return is_later(a, b) and a or b
end

-- Whether the order that begins at a place of one string is greater than that of another.
local function is_newer(a, a_at, b, b_at)
  local a1, a2, a3, a4 = struct.unpack('>I4I4I4I4', a, a_at)
  local b1, b2, b3, b4 = struct.unpack('>I4I4I4I4', b, b_at)
  if a1 ~= b1 then return a1 > b1 end
  if a2 ~= b2 then return a2 > b2 end
  if a3 ~= b3 then return a3 > b3 end
  return a4 > b4
end

-- Milliseconds since the epoch, some of them after an instant. Exact up to the year 2255; later than that, to the
-- millisecond.
local function after(instant, milliseconds)
  local high, low = struct.unpack('>I4I4', instant)
  local micros = (high - 2147483648) * 4294967296 + low
  return math.max(1, math.ceil(micros / 1000) + milliseconds)
end

local function store(key, value, at)
  if at then
    redis.call('SET', key, value, 'PXAT', string.format('%.0f', at))
  else
    redis.call('SET', key, value)
  end
end

-- When a value may be deleted (milliseconds), nil for never. A row is kept for the ttl and the grace after its
-- feature_timestamp, one that had expired when it was written for the grace after its created_timestamp at least, and
-- tombstones as long as the rows that they keep out. Without a ttl, tombstones of an entity without a row are kept for a
-- while after they were made.
local function deletion(row, tombstones, has_features, kept)
  if row == NO_ROW and not kept.ttl then
    local created = OLDEST
    for _, tombstone in ipairs(tombstones) do created = latest(created, tombstone.created) end
    return after(created, kept.tombstones)
  elseif not kept.ttl then
    return nil
  end
  local last = string.sub(row, 1, 8)
  for _, tombstone in ipairs(tombstones) do last = latest(last, tombstone.last) end
  local at = after(last, kept.ttl + kept.grace)
  return has_features and at or math.max(at, after(string.sub(row, 9, 16), kept.grace))
end

local function tombstones_in(text)
  local found = {}
  for at = 1, #text, TOMBSTONE do
    local first, last, created = string.sub(text, at, at + 7), string.sub(text, at + 8, at + 15), string.sub(text, at + 16, at + 23)
    found[#found + 1] = {first = first, last = last, created = created, exact = first == last}
  end
  return found
end

local function takes_back(tombstone, row)
  local timestamp = string.sub(row, 1, 8)
  return not (is_later(tombstone.first, timestamp) or is_later(timestamp, tombstone.last)
    or is_later(string.sub(row, 9, 16), tombstone.created))
end

-- A stored value taken apart.
local function parsed(value)
  local format = string.byte(value, 1)
  if format == 1 and #value >= FIRST_HEADER then
    local row = string.sub(value, 5, FIRST_HEADER) .. OLDEST
    return {layout = string.sub(value, 2, 3), row = row, tombstones = {}, features = string.sub(value, FIRST_HEADER + 1)}
  elseif #value < HEADER then
    return {layout = '\0\0', row = NO_ROW, tombstones = {}, features = ''}
  end
  local start = HEADER + TOMBSTONE * string.byte(value, 4)
  return {layout = string.sub(value, 2, 3), row = string.sub(value, 5, HEADER),
    tombstones = tombstones_in(string.sub(value, HEADER + 1, start)), features = string.sub(value, start + 1)}
end

-- Those of some tombstones that keep out rows newer than an instant: of equal places the newest, and one range over all
-- of them if they are too many.
local function bounded(tombstones, instant)
  local newest, found = {}, {}
  for _, tombstone in ipairs(tombstones) do
    if is_later(tombstone.last, instant) then
      local place = tombstone.first .. tombstone.last
      if not newest[place] then
        found[#found + 1] = tombstone
        newest[place] = #found
      elseif is_later(tombstone.created, found[newest[place]].created) then
        found[newest[place]] = tombstone
      end
    end
  end
  if #found <= MOST_TOMBSTONES then return found end
  local range = {first = found[1].first, last = found[1].last, created = found[1].created}
  for _, tombstone in ipairs(found) do
    range.first = is_later(range.first, tombstone.first) and tombstone.first or range.first
    range.last = latest(tombstone.last, range.last)
    range.created = latest(tombstone.created, range.created)
  end
  return {range}
end

-- The rare write in which tombstones have a say: those of the stored value, or those that come with the row.
-- `known` is the newest created_timestamp of the entity in the offline table, given by a writer that has looked at all
-- of its rows there: what that writer says goes before ranges that it has seen the rows of. `lost` speaks of rows that
-- the table has no longer: they are taken back, but may come again.
-- Returns 'written', 'stale', 'expired', 'deleted', or 'unsure' where a range, which may cover too much, is all that
-- speaks against the row.
local function merge(key, value, given, lost, known, kept)
  local old, new = parsed(redis.call('GET', key) or ''), parsed(value)
  local tombstones, refused, by_range, best = {}, false, false, old
  for _, tombstone in ipairs(old.tombstones) do
    if tombstone.exact or not known or is_later(tombstone.created, known) then
      tombstones[#tombstones + 1] = tombstone
      if takes_back(tombstone, new.row) then
        refused = refused or tombstone.exact
        by_range = true
      end
    end
  end
  for _, tombstone in ipairs(given) do
    tombstones[#tombstones + 1] = tombstone
    if takes_back(tombstone, old.row) then best = parsed('') end
  end
  for _, tombstone in ipairs(lost) do
    if takes_back(tombstone, old.row) then best = parsed('') end
  end
  local is_stale = is_newer(best.row, 1, new.row, 1)
  if not (is_stale or refused or by_range) then best = new end
  local timestamp = string.sub(best.row, 1, 8)
  tombstones = bounded(tombstones, timestamp)
  if best.row == NO_ROW and #tombstones == 0 then
    redis.call('DEL', key)
  else
    local parts = {'\2' .. best.layout .. string.char(#tombstones) .. best.row}
    for _, tombstone in ipairs(tombstones) do
      parts[#parts + 1] = tombstone.first .. tombstone.last .. tombstone.created
    end
    parts[#parts + 1] = best.features
    store(key, table.concat(parts), deletion(best.row, tombstones, best.features ~= '', kept))
  end
  if by_range and not is_stale and not refused then return 'unsure' end
  if best ~= new then return 'stale' end
  if new.row == NO_ROW then return 'deleted' end
  return new.features == '' and 'expired' or 'written'
end

local function kept_for(args)
  return {ttl = tonumber(args[1]), grace = tonumber(args[2]), tombstones = tonumber(args[3])}
end
