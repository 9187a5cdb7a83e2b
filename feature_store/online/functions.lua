-- The functions that write rows.

local function with_group_of(key)
  return with_group(group_of(key))
end

local function counted(counts, unsure, moving)
  return {counts.written, counts.stale, counts.expired, counts.deleted, unsure, moving}
end

-- Writes a value without tombstones; gives what became of it, and whether anything may have changed.
local function put(key, value, kept, deletions)
  local head = redis.call('GETRANGE', key, 0, HEADER - 1)
  local format, _, _, tombstones = string.byte(head, 1, 4)
  if format == 1 and #head >= FIRST_HEADER then
    head, tombstones = string.sub(head, 1, FIRST_HEADER) .. OLDEST, 0
  end
  if #head < HEADER then head = nil end
  if head and tombstones > 0 then return merge(key, value, {}, {}, nil, kept), true end
  if head and is_newer(head, 5, value, 5) then return 'stale', false end
  if #value == HEADER then
    store(key, value, deletion(string.sub(value, 5, HEADER), {}, false, kept))
    return 'expired', true
  end
  if kept.ttl then
    local timestamp = string.sub(value, 5, 12)
    local at = deletions[timestamp]
    if not at then
      at = string.format('%.0f', after(timestamp, kept.ttl + kept.grace))
      deletions[timestamp] = at
    end
    redis.call('SET', key, value, 'PXAT', at)
  else
    redis.call('SET', key, value)
  end
  return 'written', true
end

-- ARGV: for how long (milliseconds) rows are kept after their timestamp ('' for ever), the grace, for how long tombstones
-- without a row are kept; what rows_of_call has; then per row its value, without tombstones.
-- Returns how many were written, were older than what is there, had expired, were deleted; the places (from 1) of those
-- of which only the offline table can tell; and of those whose slots are being moved.
register('write', with_group_of, function(rows, args)
  local kept, deletions = kept_for(args), {}
  local counts, unsure, moving = {written = 0, stale = 0, expired = 0, deleted = 0}, {}, {}
  local tag_at = #group_of(rows.keys[1]) + 2
  for i, key in ipairs(rows.keys) do
    local sets = rows.sets[i]
    if not sets then
      moving[#moving + 1] = i
    else
      local outcome, changed = put(key, args[rows.first + i], kept, deletions)
      if outcome == 'unsure' then
        unsure[#unsure + 1] = i
      else
        counts[outcome] = counts[outcome] + 1
      end
      if changed and #sets > 0 then join_all(sets, string.sub(key, tag_at)) end
    end
  end
  return counted(counts, unsure, moving)
end)

-- As `write`, for entities of which the offline table was looked at as a whole. After the values (empty: no row stands)
-- per row its tombstones, then per row a range of rows that the table has lost (or nothing), then per row the newest
-- created_timestamp that the table has of the entity.
register('settle', with_group_of, function(rows, args)
  local kept, first, count = kept_for(args), rows.first, #rows.keys
  local counts, moving = {written = 0, stale = 0, expired = 0, deleted = 0}, {}
  local tag_at = #group_of(rows.keys[1]) + 2
  for i, key in ipairs(rows.keys) do
    local sets = rows.sets[i]
    if not sets then
      moving[#moving + 1] = i
    else
      local given, lost = tombstones_in(args[first + count + i]), tombstones_in(args[first + 2 * count + i])
      local outcome = merge(key, args[first + i], given, lost, args[first + 3 * count + i], kept)
      join_all(sets, string.sub(key, tag_at))
      if outcome == 'unsure' then outcome = 'stale' end
      counts[outcome] = counts[outcome] + 1
    end
  end
  return counted(counts, {}, moving)
end)

-- KEYS: the group's last_updated, then that of the registrations of vectors if they are kept on this node. ARGV: an
-- instant at which the group was complete and its newest feature timestamp (microseconds, '' for none). Neither moves
-- backwards. The texts are stored as given: a number would lose digits on its way to text.
redis.register_function('feature_store_touch_VERSION', function(keys, args)
  local complete_at, newest = string.match(redis.call('GET', keys[1]) or '', '^(%-?%d*) (%-?%d*)$')
  local function later(a, b)
    return (tonumber(a) or -math.huge) > (tonumber(b) or -math.huge) and a or b
  end
  redis.call('SET', keys[1], later(complete_at, args[1]) .. ' ' .. later(newest, args[2]))
  for _, set in ipairs(sets_of(keys[2], with_group(string.match(keys[1], '^(.*):last_updated$')))) do
    if redis.call('EXISTS', set.name .. ':last_updated') == 1 then
      summarize(set.name, set.groups, table.concat(set.groups, ' '))
    end
  end
end)
