//! Whether a chat template can make a value that is exponentially large.
//!
//! Fuel bounds steps and the bytes of strings, but lists are shared: `[x, x]` costs two slots
//! however large `x` is, and sixty such steps make a value that no machine can print. So a template
//! is refused when it is read if a variable can come to hold two copies of its own earlier self, or
//! if a chain of assignments multiplies over [`COPIES_MAX`].
//!
//! For each assignment the copies of every variable in the assigned expression are counted. Among
//! variables that depend on each other in a circle, an assignment may hold one copy of one of them:
//! then a circle only ever adds. `s = s + x` passes, `s = s + s` and `s = t + s, t = s` do not.
//!
//! All variables of one name count as one, and all attributes of one name of all namespaces.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, Stmt};

/// How many copies of one value a chain of assignments may make.
const COPIES_MAX: u64 = 1 << 12;
/// How many variables a template may have; the most in a known template is 41.
const VARIABLES_MAX: usize = 256;

/// Copies of each variable in an expression.
type Copies = BTreeMap<String, u64>;

/// What an expression or a template does that is not supported.
type Refusal = String;

/// Checks a parsed template.
pub(crate) fn check(template: &Stmt<'_>) -> Result<(), Refusal> {
    let mut walk = Walk::default();
    walk.declarations(std::slice::from_ref(template));
    walk.statements(std::slice::from_ref(template))?;
    walk.check()
}

/// The assignments of a template.
#[derive(Default)]
struct Walk {
    /// Every assigned variable with the copies in one assignment each.
    assignments: Vec<(String, Copies)>,
    /// The parameters of each macro; macros are only called, by name.
    macros: BTreeMap<String, Vec<String>>,
    /// The variables that are namespaces; only their attributes are read and assigned.
    namespaces: BTreeSet<String>,
}

impl Walk {
    /// Notes all macros and namespaces, which may be used in places before their declaration.
    fn declarations(&mut self, statements: &[Stmt<'_>]) {
        for statement in statements {
            match statement {
                Stmt::Template(it) => self.declarations(&it.children),
                Stmt::ForLoop(it) => {
                    self.declarations(&it.body);
                    self.declarations(&it.else_body);
                }
                Stmt::IfCond(it) => {
                    self.declarations(&it.true_body);
                    self.declarations(&it.false_body);
                }
                Stmt::Macro(it) => {
                    let names = it.args.iter().filter_map(variable).map(str::to_owned).collect();
                    self.macros.insert(it.name.to_owned(), names);
                    self.declarations(&it.body);
                }
                Stmt::SetBlock(it) => self.declarations(&it.body),
                Stmt::WithBlock(it) => self.declarations(&it.body),
                Stmt::AutoEscape(it) => self.declarations(&it.body),
                Stmt::Set(it) => {
                    if let (Some(name), Some(_)) = (variable(&it.target), new_namespace(&it.expr)) {
                        self.namespaces.insert(name.to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// Walks statements; returns the copies of variables in what they write.
    fn statements(&mut self, statements: &[Stmt<'_>]) -> Result<Copies, Refusal> {
        let mut written = Copies::new();
        for statement in statements {
            add(&mut written, self.statement(statement)?);
        }
        Ok(written)
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result<Copies, Refusal> {
        match statement {
            Stmt::Template(it) => self.statements(&it.children),
            Stmt::EmitExpr(it) => self.expression(&it.expr),
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => Ok(Copies::new()),
            Stmt::ForLoop(it) => {
                if it.recursive {
                    return Err("a recursive loop".to_owned());
                }
                let items = self.expression(&it.iter)?;
                self.assign(&it.target, &items)?;
                let mut written = self.statements(&it.body)?;
                // A loop writes its body more than once.
                written.values_mut().for_each(|copies| *copies = copies.saturating_mul(2));
                add(&mut written, self.statements(&it.else_body)?);
                Ok(written)
            }
            Stmt::IfCond(it) => {
                self.expression(&it.expr)?;
                let written = self.statements(&it.true_body)?;
                Ok(either(written, self.statements(&it.false_body)?))
            }
            Stmt::WithBlock(it) => {
                for (target, value) in &it.assignments {
                    let copies = self.expression(value)?;
                    self.assign(target, &copies)?;
                }
                self.statements(&it.body)
            }
            Stmt::Set(it) => {
                if let (Some(_), Some(call)) = (variable(&it.target), new_namespace(&it.expr)) {
                    return self.namespace(call).map(|()| Copies::new());
                }
                let copies = self.expression(&it.expr)?;
                self.assign(&it.target, &copies)?;
                Ok(Copies::new())
            }
            Stmt::SetBlock(it) => {
                let copies = self.statements(&it.body)?;
                self.assign(&it.target, &copies)?;
                Ok(Copies::new())
            }
            Stmt::AutoEscape(it) => self.statements(&it.body),
            Stmt::Macro(it) => {
                for (target, value) in it.args.iter().rev().zip(it.defaults.iter().rev()) {
                    let copies = self.expression(value)?;
                    self.assign(target, &copies)?;
                }
                let copies = self.statements(&it.body)?;
                self.assignments.push((macro_name(it.name), copies));
                Ok(Copies::new())
            }
            Stmt::Do(it) => self.call(&it.call).map(|_| Copies::new()),
            Stmt::FilterBlock(_) => Err("a filter block".to_owned()),
            Stmt::CallBlock(_) => Err("a call block".to_owned()),
        }
    }

    /// Notes that a variable, several, or an attribute become a value.
    fn assign(&mut self, target: &Expr<'_>, copies: &Copies) -> Result<(), Refusal> {
        match target {
            Expr::Var(it) => self.assignments.push((it.id.to_owned(), copies.clone())),
            Expr::GetAttr(it) if self.is_namespace(&it.expr) => {
                self.assignments.push((attribute(it.name), copies.clone()));
            }
            Expr::List(it) => it.items.iter().try_for_each(|item| self.assign(item, copies))?,
            Expr::Tuple(it) => it.items.iter().try_for_each(|item| self.assign(item, copies))?,
            _ => return Err("an assignment to an expression".to_owned()),
        }
        Ok(())
    }

    /// The copies of variables in the value of an expression.
    fn expression(&mut self, expression: &Expr<'_>) -> Result<Copies, Refusal> {
        match expression {
            Expr::Var(_) if self.is_namespace(expression) => {
                Err("a namespace as a value".to_owned())
            }
            Expr::Var(it) if self.macros.contains_key(it.id) || it.id == "namespace" => {
                Err("a macro or namespace as a value".to_owned())
            }
            Expr::Var(it) => Ok(Copies::from([(it.id.to_owned(), 1)])),
            Expr::Const(_) => Ok(Copies::new()),
            Expr::Slice(it) => self.expression(&it.expr),
            Expr::UnaryOp(it) => self.expression(&it.expr).map(|_| Copies::new()),
            Expr::BinOp(it) => {
                let (left, right) = (self.expression(&it.left)?, self.expression(&it.right)?);
                Ok(match it.op {
                    BinOpKind::Add | BinOpKind::Concat => sum(left, right),
                    BinOpKind::Mul => sum(sum(left.clone(), left), sum(right.clone(), right)),
                    BinOpKind::ScAnd | BinOpKind::ScOr => either(left, right),
                    BinOpKind::Eq
                    | BinOpKind::Ne
                    | BinOpKind::Lt
                    | BinOpKind::Lte
                    | BinOpKind::Gt
                    | BinOpKind::Gte
                    | BinOpKind::In
                    | BinOpKind::Sub
                    | BinOpKind::Div
                    | BinOpKind::FloorDiv
                    | BinOpKind::Rem
                    | BinOpKind::Pow => Copies::new(),
                })
            }
            Expr::Compare(it) => {
                self.expression(&it.expr)?;
                for compared in &it.ops {
                    self.expression(&compared.expr)?;
                }
                Ok(Copies::new())
            }
            Expr::IfExpr(it) => {
                self.expression(&it.test_expr)?;
                let one = self.expression(&it.true_expr)?;
                let other = it.false_expr.as_ref().map(|other| self.expression(other));
                Ok(either(one, other.transpose()?.unwrap_or_default()))
            }
            Expr::Filter(it) => {
                let value = it.expr.as_ref().map(|value| self.expression(value)).transpose()?;
                Ok(sum(value.unwrap_or_default(), self.arguments(&it.args)?))
            }
            Expr::Test(it) => {
                self.expression(&it.expr)?;
                self.arguments(&it.args).map(|_| Copies::new())
            }
            Expr::GetAttr(it) => self.part(&it.expr, Some(it.name)),
            Expr::GetItem(it) => {
                self.expression(&it.subscript_expr)?;
                let name = it.subscript_expr.as_const();
                self.part(&it.expr, name.as_ref().and_then(|name| name.as_str()))
            }
            Expr::Call(it) => self.call(it),
            Expr::List(it) => self.items(&it.items),
            Expr::Tuple(it) => self.items(&it.items),
            Expr::Map(it) => {
                let keys = self.items(&it.keys)?;
                Ok(sum(keys, self.items(&it.values)?))
            }
        }
    }

    fn items(&mut self, items: &[Expr<'_>]) -> Result<Copies, Refusal> {
        let mut copies = Copies::new();
        for item in items {
            add(&mut copies, self.expression(item)?);
        }
        Ok(copies)
    }

    /// A part of a value: what an attribute of a namespace was assigned, or less than the whole.
    fn part(&mut self, whole: &Expr<'_>, name: Option<&str>) -> Result<Copies, Refusal> {
        match name {
            Some(name) if self.is_namespace(whole) => Ok(Copies::from([(attribute(name), 1)])),
            _ => self.expression(whole),
        }
    }

    fn is_namespace(&self, expression: &Expr<'_>) -> bool {
        variable(expression).is_some_and(|name| self.namespaces.contains(name))
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) -> Result<Copies, Refusal> {
        let mut copies = Copies::new();
        for argument in arguments {
            let (CallArg::Pos(value)
            | CallArg::Kwarg(_, value)
            | CallArg::PosSplat(value)
            | CallArg::KwargSplat(value)) = argument;
            add(&mut copies, self.expression(value)?);
        }
        Ok(copies)
    }

    /// A call: of a macro, whose parameters become the arguments; of a method or a function, whose
    /// value may hold a copy of each argument.
    fn call(&mut self, call: &Call<'_>) -> Result<Copies, Refusal> {
        let arguments = self.arguments(&call.args)?;
        match &call.expr {
            Expr::Var(name) => match self.macros.get(name.id).cloned() {
                Some(parameters) => {
                    let assigned = parameters.into_iter().map(|name| (name, arguments.clone()));
                    self.assignments.extend(assigned);
                    Ok(Copies::from([(macro_name(name.id), 1)]))
                }
                None => Ok(sum(self.expression(&call.expr)?, arguments)),
            },
            Expr::GetAttr(method) => Ok(sum(self.expression(&method.expr)?, arguments)),
            _ => Err("a call of an expression".to_owned()),
        }
    }

    /// A new namespace: its attributes become the arguments.
    fn namespace(&mut self, call: &Call<'_>) -> Result<(), Refusal> {
        for argument in &call.args {
            let CallArg::Kwarg(name, value) = argument else {
                return Err("a namespace of a map".to_owned());
            };
            let copies = self.expression(value)?;
            self.assignments.push((attribute(name), copies));
        }
        Ok(())
    }

    /// Looks for circles that multiply and for chains that multiply too much.
    fn check(&self) -> Result<(), Refusal> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (target, copies) in &self.assignments {
            for name in std::iter::once(target).chain(copies.keys()) {
                let next = numbers.len();
                numbers.entry(name).or_insert(next);
            }
        }
        if numbers.len() > VARIABLES_MAX {
            return Err(format!("{} variables, more than {VARIABLES_MAX}", numbers.len()));
        }
        let reaches = self.reaches(&numbers);
        // The most copies of anything that each variable may hold, until nothing changes.
        let mut most = vec![1u64; numbers.len()];
        for _ in 0..numbers.len() {
            for (target, copies) in &self.assignments {
                let number = numbers[target.as_str()];
                let (mut circle, mut held, mut total) = (0u64, 0u64, 0u64);
                for (name, &times) in copies {
                    let source = numbers[name.as_str()];
                    if reaches[source][number] {
                        circle = circle.saturating_add(times);
                        held = held.max(most[source]);
                    } else {
                        total = total.saturating_add(times.saturating_mul(most[source]));
                    }
                }
                if circle > 1 {
                    return Err(format!("a variable that doubles itself ({target})"));
                }
                most[number] = most[number].max(total).max(held);
                if total > COPIES_MAX {
                    return Err(format!("a variable of over {COPIES_MAX} copies ({target})"));
                }
            }
        }
        Ok(())
    }

    /// `reaches[a][b]`: the value of `a` may depend on that of `b`, in any number of steps.
    fn reaches(&self, numbers: &BTreeMap<&str, usize>) -> Vec<Vec<bool>> {
        let mut reaches = vec![vec![false; numbers.len()]; numbers.len()];
        for (target, copies) in &self.assignments {
            for name in copies.keys() {
                reaches[numbers[target.as_str()]][numbers[name.as_str()]] = true;
            }
        }
        for through in 0..numbers.len() {
            let onward = reaches[through].clone();
            for row in reaches.iter_mut().filter(|row| row[through]) {
                row.iter_mut().zip(&onward).for_each(|(reached, &next)| *reached |= next);
            }
        }
        reaches
    }
}

/// The call, where an expression makes a new namespace.
fn new_namespace<'expression, 'source>(
    expression: &'expression Expr<'source>,
) -> Option<&'expression Call<'source>> {
    match expression {
        Expr::Call(call) if variable(&call.expr) == Some("namespace") => Some(call),
        _ => None,
    }
}

/// The name of a variable.
fn variable<'expression>(expression: &'expression Expr<'_>) -> Option<&'expression str> {
    match expression {
        Expr::Var(it) => Some(it.id),
        _ => None,
    }
}

/// The name under which the attributes of namespaces are counted.
fn attribute(name: &str) -> String {
    format!(".{name}")
}

/// The name under which what a macro writes is counted.
fn macro_name(name: &str) -> String {
    format!("{name}()")
}

/// Both values in one.
fn sum(mut one: Copies, other: Copies) -> Copies {
    add(&mut one, other);
    one
}

fn add(copies: &mut Copies, other: Copies) {
    for (name, times) in other {
        let entry = copies.entry(name).or_default();
        *entry = entry.saturating_add(times);
    }
}

/// One value or the other.
fn either(mut one: Copies, other: Copies) -> Copies {
    for (name, times) in other {
        let entry = one.entry(name).or_default();
        *entry = times.max(*entry);
    }
    one
}
