-- help(): what there is; help(k.pods), help("why"): one thing.

local TOPICS = { -- name → { usage, text }
    { "pods", "k.KINDS{ns=, name=, label=, field=}", "Objects of a kind: k.pods{ns=\"default\", label=\"app=web\"}, " ..
        "k.nodes{}, k.deployments{name=\"web*\"}. Every kind has its name here (k.kinds()); without ns: of all namespaces. " ..
        "k.pods(\"web-1\") and k.pods(\"shop/web-1\") give one object or nil. They come from the manager's cache, events from the server." },
    { "get", "k.get(\"KIND/NAME\")", "One object or nil; also k.get(KIND, NAMESPACE, NAME)." },
    { "kinds", "k.kinds()", "All kinds, with their short names." },
    { "why", "k.why(\"pod/web-1\")", "Everything known about an object in order: decisions of policies with their reasons, " ..
        "Events, and the changes of the object from the log." },
    { "decisions", "k.decisions{object=, ns=, point=, since=SECONDS, limit=, inputs=true}", "The recorded decisions of policies, oldest first." },
    { "whatif", "k.whatif{policy=, pod=, at=REVISION or TIME, settings=, source=}", "What another policy would decide, beside what those " ..
        "in use decide: k.whatif{policy=\"binpack\", pod=\"web-1\"}. For other kinds (deployment=, horizontalpodautoscaler=) " ..
        "what the controller would do. at: with everything as it was then; source: the text of a policy that is not there yet. Changes nothing." },
    { "try", "k.try{policy=, ctx=, candidates=, settings=, source=}", "Asks one policy alone with what you hand in, at any point: " ..
        "k.try{policy=\"rolling\", ctx=k.decisions{point=\"rollout\", inputs=true}[1].ctx}." },
    { "at", "k.at(REVISION | \"10m\" | TIME)", "The cluster as it was: k.at(r).pods{ns=\"default\"}, k.at(\"10m\").get(\"pod/web-1\") " ..
        "ten minutes ago. As far back as the server's log goes (1 GiB of objects); times since the start of the manager." },
    { "history", "k.history(\"pod/web-1\")", "Every form of one object that the log holds, oldest first." },
    { "revision", "k.revision()", "The present revision." },
    { "watch", "k.watch{kind=\"pods\", ns=, label=, name=, seconds=, count=, each=function(type, object) … end}",
        "Shows changes as they come, until Ctrl-C, count or seconds; all=true: first what there is. each may return false to " ..
        "end it. Returns how many came." },
    { "apply", "k.apply{kind=\"ConfigMap\", metadata={name=\"c\"}, data={a=\"b\"}}",
        "Makes or changes objects with your rights; also an array of objects or YAML text. What your last " ..
        "k.apply of the object had and this one leaves out goes; what others own is taken. A second argument {dry_run=true} changes nothing." },
    { "create", "k.create{…}", "Makes an object; fails if it is there." },
    { "patch", "k.patch(\"deployment/web\", {spec={replicas=3}}, {type=\"merge\"|\"strategic\"|\"json\", subresource=, dry_run=})",
        "Changes fields." },
    { "scale", "k.scale(\"deployment/web\", 3)", "Sets the number of replicas." },
    { "delete", "k.delete(\"pod/web-1\", {grace=SECONDS, cascade=, dry_run=})", "Deletes an object; also k.delete(object)." },
    { "policies_in_use", "k.policies_in_use{ns=}", "Which policies decide at which point; ns: about objects of that namespace." },
    { "policy", "k.policy(\"binpack\")", "A policy with its source, point, settings and version, also one that is shipped and no object." },
    { "print", "print(value, …)", "Shows values as the prompt does: objects and records in columns." },
    { "json", "json(value)", "A value as JSON text." },
    { "yaml", "yaml(text)", "YAML or JSON text as an array of its documents." },
    { "sleep", "sleep(SECONDS)", "Waits." },
}
local INTRO = "k is the cluster. What you type is Lua; _ is the last value. Reading shows the manager's cache, writing goes " ..
    "through the API server with your own rights. A command may use 2 s of CPU time (--timeout), a session 64 MiB.\n"

local function wrap(text, indent, width)
    local lines, line = {}, ""
    for word in string.gmatch(text, "%S+") do
        if #line > 0 and #indent + #line + 1 + #word > width then
            lines[#lines + 1] = indent .. line
            line = word
        else
            line = #line > 0 and line .. " " .. word or word
        end
    end
    lines[#lines + 1] = indent .. line
    return table.concat(lines, "\n") .. "\n"
end

local function help_width()
    local columns = host.mode()
    return columns > 0 and math.min(columns, 110) or 100
end

local function topic_named(name)
    for _, topic in ipairs(TOPICS) do
        if topic[1] == name then return topic end
    end
    return nil
end

local function help_for(topic)
    host.say(topic[2] .. "\n" .. wrap(topic[3], "    ", help_width()))
end

local function help_kind(kind)
    host.say(string.format("k.%s{ns=, name=, label=, field=}   %s, %s%s\n", kind.plural, kind.kind,
        kind.namespaced and "in namespaces" or "of the cluster", #kind.short > 0 and ", short: " .. table.concat(kind.short, ", ") or ""))
    host.say(wrap(topic_named("pods")[3], "    ", help_width()))
    host.say("    Fields: minikubectl explain " .. kind.singular .. "\n")
end

local names = setmetatable({}, { __mode = "k" })
for _, topic in ipairs(TOPICS) do
    local value = rawget(k, topic[1]) or exports[topic[1]]
    if value then
        names[value] = topic[1]
        function_names[value] = "a function: " .. topic[2] .. "; help(" .. string.match(topic[2], "^[%w_.]+") .. ") tells more"
    end
end

exports.help = function(what)
    if what == nil or what == exports.k then
        host.say(wrap(INTRO, "", help_width()))
        for _, topic in ipairs(TOPICS) do
            host.say(string.format("  %-48s %s\n", #topic[2] > 48 and string.match(topic[2], "^[^{(]*[{(]") .. "..." or topic[2],
                string.match(topic[3], "^[^.:;]*")))
        end
        host.say("help(k.why), help(\"whatif\"), help(k.pods) tell more.\n")
        return
    end
    if accessors[what] and accessors[what].kind then return help_kind(accessors[what].kind) end
    local topic = topic_named(names[what] or what)
    if topic then return help_for(topic) end
    local kind = type(what) == "string" and kinds.find(what)
    if kind then return help_kind(kind) end
    host.fail("there is no help about " .. text_of(what) .. "; help() lists what there is")
end
function_names[exports.help] = "a function: help() lists what there is, help(k.why) tells about one thing"
