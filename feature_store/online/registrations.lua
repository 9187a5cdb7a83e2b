-- The functions that keep and fill sets of vectors.

-- A token that was never given before; later ones have greater numbers before the '-'.
local function new_token(last, given)
  local now = redis.call('TIME')
  local number = math.max(tonumber(now[1]) * 1000000 + tonumber(now[2]), last + 1)
  return string.format('%.0f-%s', number, given)
end

local function number_of(token)
  return tonumber(string.match(token or '', '^(%d+)%-')) or 0
end

-- KEYS: the registrations, the set's last_updated. ARGV: a set's name, what makes its token unique, the ids of its groups.
-- Gives the token under which the set is registered, and whether its vectors are complete. One that was registered
-- otherwise is not.
redis.register_function('feature_store_register_VERSION', function(keys, args)
  local entry, last = redis.call('HGET', keys[1], args[1]), nil
  if entry then
    local token, _, ids = groups_in(entry)
    if token ~= DROPPED and ids == args[3] then return {token, redis.call('EXISTS', keys[2])} end
    last = token
  end
  local token = new_token(number_of(last), args[2])
  redis.call('DEL', keys[2])
  redis.call('HSET', keys[1], args[1], token .. ' ' .. args[3])
  return {token, 0}
end)

-- KEYS: the registrations, the set's last_updated. ARGV: a set's name, what makes a token unique. From now on its vectors
-- are neither kept nor read. Gives a token that is newer than the set's.
redis.register_function('feature_store_drop_VERSION', function(keys, args)
  local entry, last = redis.call('HGET', keys[1], args[1]), nil
  redis.call('DEL', keys[2])
  if entry then
    local token, _, ids = groups_in(entry)
    redis.call('HSET', keys[1], args[1], DROPPED .. ' ' .. ids)
    last = token
  end
  return new_token(number_of(last), args[2])
end)

-- Rows are vectors. ARGV: a set's name, for how long (milliseconds) vectors that are not kept are left to those who have
-- just seen that they are, nothing; what rows_of_call has. The vectors become what is registered. Gives the places of
-- those whose slots are being moved.
register('join', function(_, args) return with_name(args[1]) end, function(rows, args)
  local moving, tag_at = {}, #args[1] + 2
  for i, key in ipairs(rows.keys) do
    local sets = rows.sets[i]
    if not sets then
      moving[#moving + 1] = i
    elseif #sets == 0 then
      redis.call('PEXPIRE', key, args[2], 'LT')
    else
      join(sets[1], string.sub(key, tag_at))
    end
  end
  return {moving}
end)

-- Rows are the registrations of slots. ARGV: a set's name, a token, the ids of its groups, or nothing; what rows_of_call
-- has. The set is registered there under the token, or not at all, unless it is under a newer one. Gives the places of
-- slots that are being moved.
register('enlist', function() return function() return false end end, function(rows, args)
  local moving = {}
  for i, key in ipairs(rows.keys) do
    local lines, kept = rows.sets[i] and lines_in(key), {}
    if not lines then
      moving[#moving + 1] = i
    else
      local is_newer_there = false
      for line in string.gmatch(lines, '[^\n]+\n') do
        local name, token = string.match(line, '^(%S+) (%S+)')
        local is_kept = name ~= args[1] or number_of(token) > number_of(args[2])
        is_newer_there = is_newer_there or is_kept and name == args[1]
        if is_kept then kept[#kept + 1] = line end
      end
      if args[3] ~= '' and not is_newer_there then
        kept[#kept + 1] = args[1] .. ' ' .. args[2] .. ' ' .. args[3] .. '\n'
      end
      if #kept > 0 then redis.call('SET', key, table.concat(kept)) else redis.call('DEL', key) end
    end
  end
  return {moving}
end)

-- KEYS: the registrations, the set's last_updated. ARGV: a set's name, a token, '1' in a cluster. Notes that all vectors
-- were joined since the set was registered under the token; of a dropped set that they are gone. Gives 0 if the set was
-- registered anew meanwhile.
redis.register_function('feature_store_complete_VERSION', function(keys, args)
  local entry = redis.call('HGET', keys[1], args[1])
  local token, groups, ids
  if entry then token, groups, ids = groups_in(entry) end
  if token ~= args[2] then return 0 end
  if token == DROPPED then
    redis.call('HDEL', keys[1], args[1])
  elseif args[3] == '1' then
    redis.call('SET', keys[2], packed_array{packed(ids), packed(token)})
  else
    summarize(args[1], groups, ids)
  end
  return 1
end)
