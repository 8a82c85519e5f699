-- A shop's orders in a database on disk: bulk load, indexes, joins, windows, updates in many transactions, full-text
-- search of its own text, integrity check. COUNT_OF_ORDERS and COUNT_OF_BATCHES are set by the job.
.bail on
create table customers(id integer primary key, name text not null, region text not null);
create table orders(id integer primary key, customer integer not null references customers, day integer not null, cents integer not null, note text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < COUNT_OF_ORDERS / 20)
insert into customers select i, printf('customer %05d', i), char(65 + i % 7) from n;
with recursive n(i, x) as (
  select 1, 12345
  union all select i + 1, (x * 1103515245 + 12345) % 2147483648 from n where i < COUNT_OF_ORDERS
)
insert into orders select i, 1 + x % (COUNT_OF_ORDERS / 20), x / 7 % 365, x % 99991, printf('%x-%x', x, i * 2654435761 % 4294967296) from n;
create index orders_of_customers on orders(customer, day);
select count(*), sum(cents), min(note), max(note) from orders;
select region, count(*), sum(cents), avg(day) from orders join customers on customers.id = customer group by region order by region;
select day, sum(cents) over (order by day rows between 6 preceding and current row) as week
from (select day, sum(cents) as cents from orders group by day) order by week desc limit 5;
select name, sum(cents) as total, rank() over (order by sum(cents) desc) as place
from orders join customers on customers.id = customer group by customer order by place, name limit 5;
UPDATES
delete from orders where id % 17 = 3;
create index orders_by_note on orders(note);
select count(*), sum(cents), group_concat(note, ',') from (select * from orders where note between 'a' and 'a8' order by note limit 5);
vacuum;
pragma integrity_check;
select name, rootpage from sqlite_schema order by name;
