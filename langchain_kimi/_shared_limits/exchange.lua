-- Rate limits that many processes share. A process reports what it did since its last call, and this script starts those
-- of its requests whose turn it is. Redis runs a script as one step; its clock is the only one.
--
-- All times are in milliseconds. The id of a request begins with the 16 characters of its process.
--
--   state       hash: epoch, next (the last number in the queue), tokens (the sum in the window), paused_until,
--               overloads (in a row), recovery (a lower limit of concurrency after an overload), head (the first request
--               of the queue that cannot start), head_at (when it can, as its process knows), settled_at,
--               woken:<process> (when)
--   processes   sorted set: process, until when it counts as alive
--   queue       sorted set: request, its number in the order of arrival
--   leases      set: the requests in progress
--   window      sorted set: request, when it leaves the window; `inf` until it is known when it was sent
--   tokens      hash: request in the queue or in the window, its tokens
local STATE, PROCESSES, QUEUE, LEASES, WINDOW, TOKENS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local call, message = redis.call, cjson.decode(ARGV[1])
local me, limits, timing = message.process, message.limits, message.timing
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local OWNER_LENGTH, UNKNOWN = 16, 9e15
local RECOVERED = 64 -- the concurrency at which an overload is over, where none is limited

local epoch = call('HGET', STATE, 'epoch')
if not epoch then
    epoch = clock[1] .. '.' .. clock[2]
    call('HSET', STATE, 'epoch', epoch)
end

local function owner(request)
    return string.sub(request, 1, OWNER_LENGTH)
end

local function number(key, field)
    return tonumber(call('HGET', key, field) or 0)
end

local function wake(process)
    call('HSETNX', STATE, 'woken:' .. process, now)
    call('PUBLISH', message.channel .. process, '')
end

local function leave_window(request)
    call('ZREM', WINDOW, request)
    call('HINCRBY', STATE, 'tokens', -number(TOKENS, request))
    call('HDEL', TOKENS, request)
end

local function enter_window(request, tokens, leaves_at)
    call('ZADD', WINDOW, leaves_at, request)
    call('HINCRBY', STATE, 'tokens', tokens)
    call('HSET', TOKENS, request, tokens)
end

-- A request counts for a whole window after it was sent, `age` milliseconds ago; -1 if it has not been sent.
local function sent(request, age)
    if age >= 0 and call('ZSCORE', WINDOW, request) == 'inf' then
        call('ZADD', WINDOW, now - age + timing.window, request)
    end
end

local function correct_tokens(request, tokens)
    if call('ZSCORE', WINDOW, request) then
        call('HINCRBY', STATE, 'tokens', tokens - number(TOKENS, request))
        call('HSET', TOKENS, request, tokens)
    end
end

local function drop_ticket(request)
    if call('ZREM', QUEUE, request) == 1 then
        call('HDEL', TOKENS, request)
    end
end

-- A process that is no longer alive has no requests in progress and none that wait.
local function bury(process)
    for _, request in ipairs(call('SMEMBERS', LEASES)) do
        if owner(request) == process then
            call('SREM', LEASES, request)
            sent(request, 0)
        end
    end
    for _, request in ipairs(call('ZRANGE', QUEUE, 0, -1)) do
        if owner(request) == process then
            drop_ticket(request)
        end
    end
    call('ZREM', PROCESSES, process)
    call('HDEL', STATE, 'woken:' .. process)
end

-- Removes a request that was not sent and will not be.
local function withdraw(request)
    drop_ticket(request)
    if call('SREM', LEASES, request) == 1 and call('ZSCORE', WINDOW, request) then
        leave_window(request)
    end
end

local function pause(milliseconds)
    local until_then = now + math.min(milliseconds, timing.longest_pause)
    if until_then > number(STATE, 'paused_until') then
        call('HSET', STATE, 'paused_until', until_then)
    end
end

-- Overloads that come while all wait for an earlier one are the same one.
local function overloaded(milliseconds)
    local again = now >= number(STATE, 'paused_until')
    local overloads = again and call('HINCRBY', STATE, 'overloads', 1) or number(STATE, 'overloads')
    pause(math.max(milliseconds, timing.overload_pause * 2 ^ math.min(math.max(overloads, 1) - 1, 10)))
    call('HSET', STATE, 'recovery', 1)
end

local function answered()
    local recovery = number(STATE, 'recovery')
    if recovery > 0 and now >= number(STATE, 'paused_until') then
        call('HDEL', STATE, 'overloads')
        if recovery >= (limits.concurrency or RECOVERED) then
            call('HDEL', STATE, 'recovery')
        else
            call('HSET', STATE, 'recovery', recovery + 1)
        end
    end
end

-- Puts a request of this process, sent or not, into the window as the process knows it.
local function restore(entry)
    if call('ZSCORE', WINDOW, entry.id) then
        sent(entry.id, entry.age)
        correct_tokens(entry.id, entry.tokens)
    elseif entry.age < timing.window then
        enter_window(entry.id, entry.tokens, entry.age < 0 and '+inf' or now - entry.age + timing.window)
    end
end

-- What Redis holds of this process becomes what the process itself knows.
local function take_over()
    local held, waiting = {}, {}
    for _, entry in ipairs(message.held) do
        held[entry.id] = true
    end
    for _, entry in ipairs(message.tickets) do
        waiting[entry.id] = true
    end
    for _, request in ipairs(call('ZRANGE', QUEUE, 0, -1)) do
        if owner(request) == me and not waiting[request] then
            drop_ticket(request)
        end
    end
    for _, request in ipairs(call('SMEMBERS', LEASES)) do
        if owner(request) == me and not held[request] and not waiting[request] then
            call('SREM', LEASES, request)
        end
    end
    for _, entry in ipairs(message.held) do
        call('SADD', LEASES, entry.id)
        restore(entry)
    end
    for _, entry in ipairs(message.history) do
        restore(entry)
    end
    for _, request in ipairs(call('ZRANGEBYSCORE', WINDOW, '+inf', '+inf')) do
        if owner(request) == me and call('SISMEMBER', LEASES, request) == 0 then
            leave_window(request)
        end
    end
    -- Others that lost Redis too have yet to report. Their time to do so comes once a window, however often one reports.
    local has_lost = type(message.epoch) == 'string' and message.epoch ~= epoch and #message.held + #message.history > 0
    if (message.was_away or has_lost) and now - number(STATE, 'settled_at') > timing.window then
        call('HSET', STATE, 'settled_at', now)
        pause(timing.settle)
    end
end

local function time_of(score)
    return score and score ~= 'inf' and tonumber(score) or UNKNOWN
end

-- When so many of the requests and of the tokens in the window will have left it.
local function room_at(requests, tokens)
    local at = now
    if requests > 0 then
        local entry = call('ZRANGE', WINDOW, requests - 1, requests - 1, 'WITHSCORES')
        at = time_of(entry[2])
    end
    local first = 0
    while tokens > 0 do
        local entries = call('ZRANGE', WINDOW, first, first + 99, 'WITHSCORES')
        if #entries == 0 then
            return at
        end
        for index = 1, #entries, 2 do
            if tokens > 0 then
                tokens = tokens - number(TOKENS, entries[index])
                at = math.max(at, time_of(entries[index + 1]))
            end
        end
        first = first + 100
    end
    return at
end

-- Whether a process was woken and does not come. Others need not wait for it until it does.
local function is_late(process)
    local woken_at = tonumber(call('HGET', STATE, 'woken:' .. process) or now)
    return process ~= me and now - woken_at > timing.patience
end

-- Starts requests of this process in the order of arrival, and appends their ids to `started`. Returns the milliseconds
-- until the first request that cannot start yet may; -1 if it is not this process's, or waits for the end of another.
-- Another process is woken where its request can start, or where its first one can start earlier than it knows.
local function start_requests(started)
    local in_progress, requests, tokens = call('SCARD', LEASES), call('ZCARD', WINDOW), number(STATE, 'tokens')
    local paused, recovery = number(STATE, 'paused_until') - now, number(STATE, 'recovery')
    local concurrency, rpm = limits.concurrency or math.huge, limits.rpm or math.huge
    if recovery > 0 then
        concurrency = math.min(concurrency, recovery)
    end
    for _, request in ipairs(call('ZRANGE', QUEUE, 0, 255)) do
        local process, size = owner(request), number(TOKENS, request)
        local excess = limits.tpm and tokens > 0 and tokens + size - limits.tpm or 0
        local full = in_progress >= concurrency
        if is_late(process) then
            -- passed over
        elseif paused > 0 or full or requests >= rpm or excess > 0 then
            local at = UNKNOWN
            if paused > 0 or not full then
                at = math.max(room_at(math.max(0, requests - rpm + 1), math.min(excess, tokens)), now + paused)
            end
            local is_news = call('HGET', STATE, 'head') ~= request or at < number(STATE, 'head_at')
            call('HSET', STATE, 'head', request, 'head_at', at)
            if process ~= me and is_news then
                wake(process)
            end
            return process == me and at < UNKNOWN and at - now or -1
        else
            if process == me then
                call('ZREM', QUEUE, request)
                call('SADD', LEASES, request)
                enter_window(request, size, '+inf')
                started[#started + 1] = request
            elseif call('HEXISTS', STATE, 'woken:' .. process) == 0 then
                wake(process)
            end
            in_progress, requests, tokens = in_progress + 1, requests + 1, tokens + size
        end
    end
    return -1
end

for _, request in ipairs(call('ZRANGEBYSCORE', WINDOW, '-inf', now)) do
    leave_window(request)
end
if call('EXISTS', WINDOW) == 0 then
    call('HSET', STATE, 'tokens', 0) -- whatever became of the tokens of its requests
end
for _, process in ipairs(call('ZRANGEBYSCORE', PROCESSES, '-inf', now)) do
    bury(process)
end

local forgotten = message.epoch ~= epoch or (message.is_known and not call('ZSCORE', PROCESSES, me))
if forgotten and not message.has_history then
    return { epoch, -1, 0, 1, {} }
end

call('ZADD', PROCESSES, now + timing.lease, me)
call('HDEL', STATE, 'woken:' .. me)
for _, entry in ipairs(message.sent) do
    sent(entry.id, entry.age)
end
for _, entry in ipairs(message.ended) do
    call('SREM', LEASES, entry.id)
    sent(entry.id, entry.age)
    correct_tokens(entry.id, entry.tokens)
    if entry.outcome == 'overloaded' then
        overloaded(entry.wait)
    elseif entry.outcome == 'rate_limited' then
        pause(entry.wait)
    elseif entry.outcome == 'answered' then
        answered()
    end
end
for _, request in ipairs(message.withdrawn) do
    withdraw(request)
end
if message.takes_over then
    take_over()
end
local started = {}
for _, entry in ipairs(message.tickets) do
    if call('SISMEMBER', LEASES, entry.id) == 1 then
        started[#started + 1] = entry.id -- in a call whose reply was lost
    elseif not call('ZSCORE', QUEUE, entry.id) then
        call('ZADD', QUEUE, call('HINCRBY', STATE, 'next', 1), entry.id)
        call('HSET', TOKENS, entry.id, entry.tokens)
    end
end

local wait = start_requests(started)
for _, key in ipairs(KEYS) do
    call('PEXPIRE', key, timing.expire)
end
return { epoch, wait, call('ZCARD', PROCESSES), 0, started }
