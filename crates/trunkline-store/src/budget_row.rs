//! Between a row of `budget_table` and a [`Budget`].

use trunkline_model::{Amount, Budget};

use crate::db::{Row, StoreError, Value};
use crate::key_row::refuse_nul;
use crate::server_row::{Cell, Reader, json, text, time};
use crate::tenant_row::{Statements, TenantRow, decode_stamps, defect, stamp_cells};

impl TenantRow for Budget {
    const STATEMENTS: Statements = crate::tenant::BUDGETS;

    fn id(&self) -> &str {
        &self.budget_id
    }

    fn encode(&self, revision: i64) -> Result<Vec<Cell>, StoreError> {
        let Self {
            budget_id,
            max_budget,
            soft_budget,
            max_parallel_requests,
            rpm_limit,
            tpm_limit,
            tpd_limit,
            model_max_budget,
            budget_duration,
            budget_reset_at,
            stamps,
            defect: _,
        } = self;
        let amount = |own: &Option<Amount>| Value::Int(own.map(Amount::billionths));
        let count = |own: &Option<u32>| Value::Int(own.map(i64::from));
        let tokens = |own: &Option<u64>| Value::Int(own.map(|own| i64::try_from(own).unwrap_or(i64::MAX)));
        let mut cells = vec![
            ("budget_id", Value::from(&**budget_id)),
            ("max_budget", amount(max_budget)),
            ("soft_budget", amount(soft_budget)),
            ("max_parallel_requests", count(max_parallel_requests)),
            ("tpm_limit", tokens(tpm_limit)),
            ("rpm_limit", count(rpm_limit)),
            ("tpd_limit", tokens(tpd_limit)),
            ("model_max_budget", json(model_max_budget).into()),
            ("budget_duration", text(budget_duration.as_ref())),
            ("budget_reset_at", time(*budget_reset_at)),
        ];
        cells.extend(stamp_cells(stamps, revision));
        refuse_nul(cells)
    }

    fn decode(row: &Row) -> Option<Self> {
        let budget_id = row.text("budget_id").ok().flatten()?;
        let mut reader = Reader::new(row);
        let amount = |reader: &mut Reader<'_>, column| {
            let billionths = reader.int(column)?;
            reader.checked(column, Amount::from_billionths(billionths))
        };
        let tokens = |reader: &mut Reader<'_>, column| {
            let tokens = reader.int(column)?;
            reader.checked(column, u64::try_from(tokens).ok())
        };
        let mut budget = Self {
            budget_id,
            max_budget: amount(&mut reader, "max_budget"),
            soft_budget: amount(&mut reader, "soft_budget"),
            max_parallel_requests: reader.count("max_parallel_requests"),
            rpm_limit: reader.count("rpm_limit"),
            tpm_limit: tokens(&mut reader, "tpm_limit"),
            tpd_limit: tokens(&mut reader, "tpd_limit"),
            model_max_budget: reader.json("model_max_budget").unwrap_or_default(),
            budget_duration: reader.text("budget_duration"),
            budget_reset_at: reader.time("budget_reset_at"),
            stamps: decode_stamps(&mut reader),
            defect: None,
        };
        budget.defect = defect(&reader);
        Some(budget)
    }
}
