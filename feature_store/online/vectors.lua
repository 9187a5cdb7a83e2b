-- Vectors: copies of an entity's values in the groups of a set, in one key beside the values. vector_sets.py says which
-- sets there are. They are registered in a hash: by a set's name a token and the ids of its groups, in order. The token
-- DROPPED marks a set that is no longer kept. In a cluster each slot has registrations of its own (cluster_sets.py): a
-- string, for each set a line with its name, token and ids.

local DROPPED = '-'
local MOVING = 'TRYAGAIN the slot of these keys is being moved'

local function groups_in(entry)
  local token, ids = string.match(entry, '^(%S+) (.*)$')
  local groups = {}
  for id in string.gmatch(ids, '%S+') do groups[#groups + 1] = id end
  return token, groups, ids
end

-- What tells the sets that a group belongs to from others.
local function with_group(id)
  return function(_, groups)
    for _, other in ipairs(groups) do
      if other == id then return true end
    end
    return false
  end
end

local function with_name(wanted)
  return function(name) return name == wanted end
end

-- The registered sets that are wanted. Every writer finds them at each call, whatever definitions it knows: so from the
-- moment a set is registered no write goes past its vectors.
local function sets_of(registrations, wanted)
  local found = {}
  local entries = registrations and redis.call('HGETALL', registrations) or {}
  for i = 1, #entries, 2 do
    local token, groups = groups_in(entries[i + 1])
    if token ~= DROPPED and wanted(entries[i], groups) then found[#found + 1] = {name = entries[i], groups = groups} end
  end
  return found
end

-- The registrations of a slot. nil while it is being moved: both of its nodes refuse a command with several keys of
-- which one is missing, as the second one here always is. While they do not, this node has all keys of the slot.
local function lines_in(registrations)
  local found = redis.pcall('EXISTS', registrations, registrations .. ':')
  if type(found) ~= 'number' then return nil end
  return found > 0 and redis.call('GET', registrations) or ''
end

local function sets_in_slot(registrations, wanted)
  local lines, found = lines_in(registrations), {}
  if not lines or lines == '' then return lines and found end
  for name, entry in string.gmatch(lines, '(%S+) ([^\n]+)\n') do
    local token, groups = groups_in(entry)
    if wanted(name, groups) then found[#found + 1] = {name = name, token = token, groups = groups} end
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

-- Makes the vector of an entity what the values of the groups are now, in a cluster behind the token of the set. It is
-- kept as long as the one that is kept longest.
local function join(set, tag)
  local keys = {}
  for i, group in ipairs(set.groups) do keys[i] = group .. ':' .. tag end
  local values, parts, at, found = redis.call('MGET', unpack(keys)), {}, 0, false
  if set.token then parts[1] = packed(set.token) end
  for i, value in ipairs(values) do
    parts[#parts + 1] = packed(value)
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

-- The rows of a call, whose arguments begin after `first`. `sets` has for each the wanted sets that are registered;
-- false while its slot is being moved.
--
-- Their keys are KEYS, and ARGV[4] says where sets are registered: '1': under the last of KEYS, on one node; a key: in
-- the slot that all of them are in; a key after '?': there, and no wanted set is registered if the slot is being moved;
-- '' nowhere.
local function rows_of_call(keys, args, wanted)
  local place, sets = args[4], {}
  if place == '1' then
    sets = sets_of(table.remove(keys), wanted)
  elseif place ~= '' then
    local is_sure = string.sub(place, 1, 1) == '?'
    sets = sets_in_slot(is_sure and string.sub(place, 2) or place, wanted) or is_sure and {}
  end
  local of_rows = {}
  for i = 1, #keys do of_rows[i] = sets end
  return {keys = keys, sets = of_rows, first = 4, is_moving = not sets}
end

-- The same of rows in many slots of a node of a cluster. ARGV[4] is their number; then their keys, and for each the key
-- of the registrations in its slot, or nothing if that is the one before.
local function rows_of_slots(args, wanted)
  local count, keys, of_rows, sets = tonumber(args[4]), {}, {}, false
  for i = 1, count do
    local place = args[4 + count + i]
    if place ~= '' then sets = sets_in_slot(place, wanted) or false end
    keys[i], of_rows[i] = args[4 + i], sets
  end
  return {keys = keys, sets = of_rows, first = 4 + 2 * count}
end

local function group_of(key)
  return string.match(key or '', '^(.-):{') or ''
end

-- Registers a function for rows by a name, and for rows of many slots by the same with `_many`. It does what it is for
-- with each row whose slot is not being moved, and gives the places (from 1) of the others last.
local function register(name, wanted_of, body)
  redis.register_function('feature_store_' .. name .. '_VERSION', function(keys, args)
    local rows = rows_of_call(keys, args, wanted_of(keys[1], args))
    if rows.is_moving then return redis.error_reply(MOVING) end
    return body(rows, args)
  end)
  redis.register_function{
    function_name = 'feature_store_' .. name .. '_many_VERSION',
    flags = {'allow-cross-slot-keys'},
    callback = function(_, args)
      return body(rows_of_slots(args, wanted_of(args[5], args)), args)
    end
  }
end
