-- A key that has got another secret leaves a row that says which: what its calls cost that were under way is charged to that one.
ALTER TABLE spend ADD COLUMN moved_to TEXT;

-- Which tags of a key have sums of their own in a day: any client can make up others, which are summed up together.
CREATE TABLE spend_tag (
    day BIGINT NOT NULL,
    api_key TEXT NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (day, api_key, tag)
);

INSERT INTO spend_tag (day, api_key, tag) SELECT DISTINCT day, api_key, tag FROM spend_daily WHERE tag <> '';
