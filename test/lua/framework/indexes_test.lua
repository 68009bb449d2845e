local testing = require("framework.testing")
local indexes = require("framework.indexes")

return {
    ["text and back"] = function()
        for _, text in ipairs({ "", "0", "0,2", "0-3", "1,3-5,9", "0-1,99998-99999" }) do
            testing.equal(indexes.print(indexes.parse(text)), text)
        end
        local set, size = indexes.parse("1,3-5,4")
        testing.equal(size, 4)
        testing.equal({ set[3], set[2] }, { true })
        testing.equal(indexes.print(indexes.parse("0,2-4,7", 4)), "0,2-3")
    end,

    ["what is no such text is empty"] = function()
        for _, text in ipairs({ "x", "1-", "-1", "5-3" }) do
            local _, size = indexes.parse(text)
            testing.equal(size, 0, text)
        end
        testing.equal(select(2, indexes.parse(nil)), 0)
    end,
}
