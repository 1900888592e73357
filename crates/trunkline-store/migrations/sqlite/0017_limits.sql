-- What replicas have taken of the limits that they share. `limit_minute`: calls of one who is counted, in the minute that `began_at` by
-- the database's clock; `following`: of the minute after it. `limit_place`: calls at the same time, by replica; those of a replica that is
-- not heard of count no more. `asked`: the number of the request that wrote it.
CREATE TABLE limit_minute (
    counted TEXT PRIMARY KEY NOT NULL,
    began_at BIGINT NOT NULL DEFAULT 0,
    granted BIGINT NOT NULL DEFAULT 0,
    following BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE limit_place (
    counted TEXT NOT NULL,
    replica TEXT NOT NULL,
    places BIGINT NOT NULL DEFAULT 0,
    asked BIGINT NOT NULL DEFAULT 0,
    asked_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (counted, replica)
);
