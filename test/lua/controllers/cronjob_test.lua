local m8 = require("m8")
local testing = require("framework.testing")

local KEY, NOON = "default/tick", m8.time("2026-03-01T12:00:00Z")

local function cronjob(spec)
    local whole = m8.copy(spec or {})
    whole.schedule = whole.schedule or "*/5 * * * *"
    whole.concurrencyPolicy = whole.concurrencyPolicy or "Allow"
    whole.jobTemplate = { metadata = { labels = { from = "tick" } }, spec = { template = { spec = { containers = {} } } } }
    return { apiVersion = "batch/v1", kind = "CronJob", spec = whole,
        metadata = { name = "tick", namespace = "default", uid = "u-tick", creationTimestamp = "2026-03-01T12:00:00Z" } }
end

local function world_of(spec)
    return testing.world({ now = NOON, objects = { ["cronjobs.batch"] = { cronjob(spec) } } })
end

local function at(world, minutes)
    world:set_now(NOON + minutes * 60)
    return testing.settle(world, "cronjob", KEY)
end

local function jobs(world)
    local list = {}
    for item in world:list("jobs.batch") do list[#list + 1] = item.name:sub(6) end
    return table.concat(list, " ")
end

local function name_at(minutes)
    return tostring((NOON + minutes * 60) / 60)
end

local function finish(world, minutes, type)
    local job = world:get("jobs.batch", "default/tick-" .. name_at(minutes))
    local condition = { type = type, status = "True", lastTransitionTime = world:time_text() }
    job.status = { completionTime = world:time_text(), conditions = { condition } }
    world:put("jobs.batch", job)
end

local function events(plans, reason)
    local count = 0
    for _, plan in ipairs(plans) do
        for _, event in ipairs(plan.events) do
            if event.reason == reason then count = count + 1 end
        end
    end
    return count
end

return {
    ["a Job for each time, once, and back at the next"] = function()
        local world = world_of()
        local plans = at(world, 0)
        testing.equal(jobs(world), "")
        testing.equal(plans[1].after, 300)
        at(world, 5)
        testing.equal(jobs(world), name_at(5))
        local job = world:get("jobs.batch", "default/tick-" .. name_at(5))
        testing.equal(job.metadata.labels.from, "tick")
        testing.equal(job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-03-01T12:05:00Z")
        testing.equal(world:get("cronjobs.batch", KEY).status.lastScheduleTime, "2026-03-01T12:05:00Z")
        testing.equal(#world:get("cronjobs.batch", KEY).status.active, 1)
        at(world, 5.5)
        testing.equal(jobs(world), name_at(5))
    end,

    ["made, but the status was lost: not made again"] = function()
        local world = world_of()
        at(world, 5)
        local cron = world:get("cronjobs.batch", KEY)
        cron.status = nil
        world:put("cronjobs.batch", cron)
        finish(world, 5, "Complete")
        at(world, 6)
        testing.equal(jobs(world), name_at(5))
    end,

    ["a Job that was refused is made as soon as it may be, also after Replace has ended the old one"] = function()
        local function refused(world)
            local plan, kept = testing.reconcile(world, "cronjob", KEY), {}
            for _, step in ipairs(plan.steps) do
                if step.verb ~= "create" then kept[#kept + 1] = step end
            end
            testing.equal(#plan.steps - #kept, 1, "one Job is tried")
            plan.steps = kept
            testing.apply(world, plan)
        end
        local world = world_of({ concurrencyPolicy = "Replace" })
        at(world, 5)
        world:set_now(NOON + 600)
        for _ = 1, 2 do
            refused(world)
            testing.equal(jobs(world), "")
            testing.equal(world:get("cronjobs.batch", KEY).status.lastScheduleTime, "2026-03-01T12:05:00Z")
        end
        testing.equal(events(at(world, 12), "SuccessfulCreate"), 1)
        testing.equal(jobs(world), name_at(10))
        testing.equal(world:get("cronjobs.batch", KEY).status.lastScheduleTime, "2026-03-01T12:10:00Z")
    end,

    ["away for an hour: only the last missed time is served"] = function()
        local world = world_of()
        at(world, 61)
        testing.equal(jobs(world), name_at(60))
    end,

    ["startingDeadlineSeconds: too late is never"] = function()
        local world = world_of({ schedule = "0 13 * * *", startingDeadlineSeconds = 60 })
        at(world, 70)
        testing.equal(jobs(world), "")
        world = world_of({ schedule = "0 13 * * *", startingDeadlineSeconds = 900 })
        at(world, 70)
        testing.equal(jobs(world), name_at(60))
    end,

    ["very many missed times are told"] = function()
        local world = world_of({ schedule = "* * * * *" })
        testing.equal(events(at(world, 600), "TooManyMissedTimes"), 1)
        testing.equal(jobs(world), name_at(600))
    end,

    ["Forbid waits, Replace ends the old one, Allow lets both run"] = function()
        local world = world_of({ concurrencyPolicy = "Forbid" })
        at(world, 5)
        testing.equal(events(at(world, 10), "JobAlreadyActive") >= 1, true)
        testing.equal(jobs(world), name_at(5))
        finish(world, 5, "Complete")
        at(world, 11)
        testing.contains(jobs(world), name_at(10))
        world = world_of({ concurrencyPolicy = "Replace" })
        at(world, 5)
        at(world, 10)
        testing.equal(jobs(world), name_at(10))
        world = world_of()
        at(world, 5)
        at(world, 10)
        testing.equal(jobs(world), name_at(5) .. " " .. name_at(10))
    end,

    ["history limits, by kind of end; ends are told once"] = function()
        local world = world_of({ successfulJobsHistoryLimit = 1, failedJobsHistoryLimit = 0 })
        local told = 0
        for minutes = 5, 20, 5 do
            at(world, minutes)
            finish(world, minutes, minutes == 10 and "Failed" or "Complete")
            told = told + events(at(world, minutes + 1), "SawCompletedJob")
        end
        testing.equal(told, 4)
        testing.equal(jobs(world), name_at(20))
        testing.equal(world:get("cronjobs.batch", KEY).status.lastSuccessfulTime, "2026-03-01T12:20:00Z")
    end,

    ["suspended: nothing"] = function()
        local world = world_of({ suspend = true })
        at(world, 20)
        testing.equal(jobs(world), "")
    end,

    ["the clock of its time zone"] = function()
        local world = world_of({ schedule = "30 21 * * *", timeZone = "Asia/Tokyo" }) -- 12:30 UTC
        at(world, 29)
        testing.equal(jobs(world), "")
        at(world, 30)
        testing.equal(jobs(world), name_at(30))
    end,

    ["a schedule that cannot be read is told"] = function()
        testing.equal(events(at(world_of({ schedule = "x" }), 5), "InvalidSchedule"), 1)
    end,
}
