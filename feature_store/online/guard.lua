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

-- Vectors: copies of an entity's values in the groups of a set, in one key beside the values. vector_sets.py says which
-- sets there are. They are registered in a hash: by a set's name a token and the ids of its groups, in order. The token
-- DROPPED marks a set that is no longer kept.

local DROPPED = '-'

local function groups_in(entry)
  local token, ids = string.match(entry, '^(%S+) (.*)$')
  local groups = {}
  for id in string.gmatch(ids, '%S+') do groups[#groups + 1] = id end
  return token, groups, ids
end

-- The registered sets that a group belongs to. Every writer finds them at each call, whatever definitions it knows: so
-- from the moment a set is registered no write goes past its vectors.
local function sets_of(group, registrations)
  local found = {}
  local entries = registrations and redis.call('HGETALL', registrations) or {}
  for i = 1, #entries, 2 do
    local token, groups = groups_in(entries[i + 1])
    for _, id in ipairs(groups) do
      if id == group and token ~= DROPPED then found[#found + 1] = {name = entries[i], groups = groups} end
    end
  end
  return found
end

-- A string as MessagePack's bin, or its nil.
local function packed(value)
  if not value then return '\192' end
  if #value < 256 then return '\196' .. string.char(#value) .. value end
  return struct.pack('>BI4', 198, #value) .. value
end

local function packed_array(parts)
  local head = #parts < 16 and string.char(144 + #parts) or struct.pack('>BI2', 220, #parts)
  return head .. table.concat(parts)
end

-- Makes the vector of an entity what the values of the groups are now. It is kept as long as the one that is kept longest.
local function join(set, tag)
  local keys = {}
  for i, group in ipairs(set.groups) do keys[i] = group .. ':' .. tag end
  local values, parts, at, found = redis.call('MGET', unpack(keys)), {}, 0, false
  for i, value in ipairs(values) do
    parts[i] = packed(value)
    if value then
      found = true
      local expires = at and redis.call('PEXPIRETIME', keys[i])
      at = expires and expires >= 0 and math.max(at, expires) or nil
    end
  end
  local vector = set.name .. ':' .. tag
  if found then
    store(vector, packed_array(parts), at)
  else
    redis.call('UNLINK', vector)
  end
end

local function join_all(sets, tag)
  for _, set in ipairs(sets) do join(set, tag) end
end

-- Says up to when the groups of a set are complete; that this key is there says that the set's vectors are.
local function summarize(name, groups, ids)
  local keys = {}
  for i, group in ipairs(groups) do keys[i] = group .. ':last_updated' end
  local parts = {packed(ids)}
  for i, value in ipairs(redis.call('MGET', unpack(keys))) do parts[i + 1] = packed(value) end
  redis.call('SET', name .. ':last_updated', packed_array(parts))
end

-- What rows of one group are written under: the keys of the rows, the sets of the group, and where tags begin in keys.
-- ARGV[4] says whether the last of KEYS is that of the registrations: in a cluster, where it is on another node, no
-- vectors are kept.
local function targets(keys, args)
  local registrations = args[4] == '1' and table.remove(keys) or nil
  local group = keys[1] and string.match(keys[1], '^(.-):{') or ''
  return keys, sets_of(group, registrations), #group + 2
end

local function counted(counts, unsure)
  return {counts.written, counts.stale, counts.expired, counts.deleted, unsure}
end

-- KEYS: one per row, then that of the registrations of vectors. ARGV: for how long (milliseconds) rows are kept after
-- their timestamp ('' for ever), the grace, for how long tombstones without a row are kept, whether the key of the
-- registrations is given ('1'); then per row its value, without tombstones.
-- Returns how many were written, were older than what is there, had expired, were deleted; and the places (from 1) of
-- those of which only the offline table can tell.
redis.register_function('feature_store_write_VERSION', function(all_keys, args)
  local kept = kept_for(args)
  local keys, sets, tag_at = targets(all_keys, args)
  local keep = kept.ttl and kept.ttl + kept.grace
  local deletions = {}
  local counts, unsure = {written = 0, stale = 0, expired = 0, deleted = 0}, {}
  for i, key in ipairs(keys) do
    local value, changed = args[4 + i], true
    local head = redis.call('GETRANGE', key, 0, HEADER - 1)
    local format, _, _, tombstones = string.byte(head, 1, 4)
    if format == 1 and #head >= FIRST_HEADER then
      head, tombstones = string.sub(head, 1, FIRST_HEADER) .. OLDEST, 0
    end
    if #head < HEADER then head = nil end
    if head and tombstones > 0 then
      local outcome = merge(key, value, {}, {}, nil, kept)
      if outcome == 'unsure' then
        unsure[#unsure + 1] = i
      else
        counts[outcome] = counts[outcome] + 1
      end
    elseif head and is_newer(head, 5, value, 5) then
      counts.stale = counts.stale + 1
      changed = false
    elseif #value == HEADER then
      store(key, value, deletion(string.sub(value, 5, HEADER), {}, false, kept))
      counts.expired = counts.expired + 1
    else
      if keep then
        local timestamp = string.sub(value, 5, 12)
        local at = deletions[timestamp]
        if not at then
          at = string.format('%.0f', after(timestamp, keep))
          deletions[timestamp] = at
        end
        redis.call('SET', key, value, 'PXAT', at)
      else
        redis.call('SET', key, value)
      end
      counts.written = counts.written + 1
    end
    if changed and #sets > 0 then join_all(sets, string.sub(key, tag_at)) end
  end
  return counted(counts, unsure)
end)

-- As `write`, for entities of which the offline table was looked at as a whole. After the values (empty: no row stands)
-- per row its tombstones, then per row a range of rows that the table has lost (or nothing), then per row the newest
-- created_timestamp that the table has of the entity.
redis.register_function('feature_store_settle_VERSION', function(all_keys, args)
  local kept = kept_for(args)
  local keys, sets, tag_at = targets(all_keys, args)
  local counts, unsure = {written = 0, stale = 0, expired = 0, deleted = 0}, {}
  for i, key in ipairs(keys) do
    local given, lost = tombstones_in(args[4 + #keys + i]), tombstones_in(args[4 + 2 * #keys + i])
    local outcome = merge(key, args[4 + i], given, lost, args[4 + 3 * #keys + i], kept)
    join_all(sets, string.sub(key, tag_at))
    if outcome == 'unsure' then outcome = 'stale' end
    counts[outcome] = counts[outcome] + 1
  end
  return counted(counts, unsure)
end)

-- KEYS: the group's last_updated, then that of the registrations of vectors if they are kept. ARGV: an instant at which the group was complete and its newest feature timestamp
-- (microseconds, '' for none). Neither moves backwards. The texts are stored as given: a number would lose digits on its way to text.
redis.register_function('feature_store_touch_VERSION', function(keys, args)
  local complete_at, newest = string.match(redis.call('GET', keys[1]) or '', '^(%-?%d*) (%-?%d*)$')
  local function later(a, b)
    return (tonumber(a) or -math.huge) > (tonumber(b) or -math.huge) and a or b
  end
  redis.call('SET', keys[1], later(complete_at, args[1]) .. ' ' .. later(newest, args[2]))
  for _, set in ipairs(sets_of(string.match(keys[1], '^(.*):last_updated$'), keys[2])) do
    if redis.call('EXISTS', set.name .. ':last_updated') == 1 then
      summarize(set.name, set.groups, table.concat(set.groups, ' '))
    end
  end
end)

-- KEYS: the registrations. ARGV: a set's name, a new token, the ids of its groups. Gives the token under which the set
-- is registered, and whether its vectors are complete. One that was registered otherwise is not.
redis.register_function('feature_store_register_VERSION', function(keys, args)
  local entry, head = redis.call('HGET', keys[1], args[1]), args[1] .. ':last_updated'
  if entry then
    local token, _, ids = groups_in(entry)
    if token ~= DROPPED and ids == args[3] then return {token, redis.call('EXISTS', head)} end
  end
  redis.call('DEL', head)
  redis.call('HSET', keys[1], args[1], args[2] .. ' ' .. args[3])
  return {args[2], 0}
end)

-- KEYS: the registrations. ARGV: a set's name. From now on its vectors are neither kept nor read.
redis.register_function('feature_store_drop_VERSION', function(keys, args)
  local entry = redis.call('HGET', keys[1], args[1])
  redis.call('DEL', args[1] .. ':last_updated')
  if entry then
    local _, _, ids = groups_in(entry)
    redis.call('HSET', keys[1], args[1], DROPPED .. ' ' .. ids)
  end
end)

-- KEYS: the registrations. ARGV: a set's name, for how long (milliseconds) vectors that are not kept are left to those
-- who have just seen that they are; then tags of entities, whose vectors become what is registered.
redis.register_function('feature_store_join_VERSION', function(keys, args)
  local entry = redis.call('HGET', keys[1], args[1])
  local token, groups = DROPPED, {}
  if entry then token, groups = groups_in(entry) end
  local set = {name = args[1], groups = groups}
  for i = 3, #args do
    if token == DROPPED then
      redis.call('PEXPIRE', set.name .. ':' .. args[i], args[2], 'LT')
    else
      join(set, args[i])
    end
  end
end)

-- KEYS: the registrations. ARGV: a set's name, a token. Notes that all vectors were joined since the set was registered
-- under the token; of a dropped set that they are gone. Gives 0 if the set was registered anew meanwhile.
redis.register_function('feature_store_complete_VERSION', function(keys, args)
  local entry = redis.call('HGET', keys[1], args[1])
  local token, groups, ids
  if entry then token, groups, ids = groups_in(entry) end
  if token ~= args[2] then return 0 end
  if token == DROPPED then
    redis.call('HDEL', keys[1], args[1])
  else
    summarize(args[1], groups, ids)
  end
  return 1
end)
