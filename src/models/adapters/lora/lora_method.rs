//! LoRA (Hu et al. 2021): `W x + scale * B A dropout(x)`, with what was found since to train better.

use super::{lora_adapter::Lora, lora_options::LoraOptions, peft_lora};
use crate::{
    base::error::Result,
    models::{
        Backbone, BackboneShape,
        adapters::{
            adapter::Adapter,
            adapter_method::{AdapterMethod, Wrong},
            peft::{Keys, Tensors},
        },
    },
};

impl AdapterMethod for LoraOptions {
    const KIND: &'static str = "lora";
    const TITLE: &'static str = "LoRA";
    const PEFT_TYPE: Option<&'static str> = Some("LORA");
    const FACTS: &'static [&'static str] = &["rank", "alpha", "use_rslora", "use_dora"];

    fn check(&self) -> Result<(), Wrong> {
        Wrong::unless_positive("rank", self.rank)?;
        if !self.alpha.is_finite() {
            return Err(Wrong::new("alpha", "`alpha` must be a finite number"));
        }
        if !(0.0..=0.99).contains(&self.dropout) {
            return Err(Wrong::new("dropout", "`dropout` must lie between 0 and 0.99"));
        }
        Ok(())
    }

    fn complete(&mut self, usual_targets: &[&str]) {
        if self.target_modules.is_empty() {
            self.target_modules.extend(usual_targets.iter().map(|target| (*target).to_owned()));
        }
    }

    fn create(&self, backbone: &dyn Backbone, seed: u64, _: Option<&[u32]>) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(Lora::new(self, backbone, seed)?))
    }

    fn read(keys: &mut Keys, tensors: &mut Tensors, backbone: &dyn Backbone) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(peft_lora::read(keys, tensors, backbone)?))
    }

    fn trainable(&self, backbone: BackboneShape) -> u64 {
        let changed = backbone.modules.iter().filter(|module| self.chooses(&module.path));
        let lengths = |outputs: usize| if self.use_dora { outputs } else { 0 };
        changed.map(|m| (self.rank * (m.inputs + m.outputs) + lengths(m.outputs)) as u64).sum()
    }

    /// DoRA computes what a layer gives apart from the sum that it is added to, and scales its gradient in a copy.
    fn working(&self, backbone: BackboneShape) -> u64 {
        let changed = backbone.modules.iter().filter(|module| self.use_dora && self.chooses(&module.path));
        2 * changed.map(|module| module.outputs as u64).max().unwrap_or(0)
    }

    fn changes(&self, path: &str) -> bool {
        self.chooses(path)
    }

    fn size(&mut self) -> Option<(&'static str, &mut usize)> {
        Some(("rank", &mut self.rank))
    }
}
